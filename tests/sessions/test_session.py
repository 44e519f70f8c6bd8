"""A session from the request to its end, over real processes."""

from __future__ import annotations

import contextlib
import socket
from urllib.parse import urlsplit

import httpx
import msgspec
import psutil
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.sessions.cluster import Cluster, ask, text, url_of

ROW = [0.5, 0.5, 0.2, 0.3]


def test_a_row_is_classified(base: str) -> None:
    answer = ask(base)
    session = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/sessions/{session['id']}"
    assert session["state"] == "ready"
    assert session["where"] == "edge"
    with connect(url_of(session)) as ws:
        hello = msgspec.json.decode(ws.recv())
        ws.send(text({"n": 1, "row": ROW}))
        result = msgspec.json.decode(ws.recv())
    assert hello["type"] == "hello"
    assert hello["session"] == session["id"]
    assert result["n"] == 1
    assert result["result"]["label"] in ("accident", "fire", "gun", "knife")
    assert sum(result["result"]["scores"].values()) == pytest.approx(1)
    assert {"received_at", "queued_ms", "inferred_ms", "sent_at"} == result["times"].keys()


def test_frames_become_boxes(base: str, jpeg: bytes) -> None:
    session = ask(base, "object").json()
    with connect(url_of(session)) as ws:
        ws.recv()
        ws.send((7).to_bytes(4) + jpeg)
        ws.send(jpeg)
        first, second = (msgspec.json.decode(ws.recv()) for _ in range(2))
    assert (first["n"], second["n"]) == (7, 8)
    assert isinstance(first["result"]["boxes"], list)
    httpx.delete(f"{base}/sessions/{session['id']}", headers={"Session-Token": session["token"]})


def test_messagepack_carries_pictures(base: str, jpeg: bytes) -> None:
    session = ask(base, "image").json()
    with connect(url_of(session), subprotocols=[Subprotocol("bongsu.v1.msgpack")]) as ws:
        assert msgspec.msgpack.decode(ws.recv())["type"] == "hello"
        ws.send(msgspec.msgpack.encode({"n": 1, "picture": jpeg}))
        result = msgspec.msgpack.decode(ws.recv())
    assert result["n"] == 1
    assert result["result"]["caption"].endswith(".")
    httpx.delete(f"{base}/sessions/{session['id']}", headers={"Session-Token": session["token"]})


def test_a_browser_sends_its_token_as_subprotocol(base: str) -> None:
    session = ask(base).json()
    offered = [Subprotocol("bongsu.v1.json"), Subprotocol(f"bongsu.token.{session['token']}")]
    with connect(session["url"], subprotocols=offered) as ws:
        assert ws.subprotocol == "bongsu.v1.json"
        assert msgspec.json.decode(ws.recv())["type"] == "hello"


@pytest.mark.parametrize("token", ["", "0" * 64])
def test_only_the_tokens_holder_gets_in(base: str, token: str) -> None:
    session = ask(base).json()
    with pytest.raises(InvalidStatus) as refused, connect(f"{session['url']}?token={token}"):
        pass
    assert refused.value.response.status_code == 401
    assert msgspec.json.decode(refused.value.response.body or b"")["reason"] == "token"


def test_a_second_connection_is_refused(base: str) -> None:
    session = ask(base).json()
    with connect(url_of(session)), pytest.raises(InvalidStatus) as refused, connect(url_of(session)):
        pass
    assert refused.value.response.status_code == 409


def test_what_was_answered_is_not_computed_again(base: str) -> None:
    session = ask(base).json()
    with connect(url_of(session)) as ws:
        resume = msgspec.json.decode(ws.recv())["resume"]
        for n in (1, 2, 3):
            ws.send(text({"n": n, "row": ROW}))
        results = [msgspec.json.decode(ws.recv()) for _ in range(3)]
        # As where a phone loses its network: no close frame, and the last result is taken for lost.
        ws.socket.shutdown(socket.SHUT_RDWR)
    with connect(url_of(session, resume=resume, after=2)) as ws:
        assert msgspec.json.decode(ws.recv())["resumed"] is True
        again = msgspec.json.decode(ws.recv())
        ws.send(text({"n": 1, "row": ROW}))
        repeated = msgspec.json.decode(ws.recv())
    assert again["times"]["received_at"] == results[2]["times"]["received_at"]
    assert repeated["times"]["received_at"] == results[0]["times"]["received_at"]


def test_a_bad_row_is_answered_in_its_place(base: str) -> None:
    session = ask(base).json()
    with connect(url_of(session)) as ws:
        ws.recv()
        for message in ({"n": 1, "row": [1, 2]}, {"n": 2, "row": ROW}, {"n": 3, "row": {"width": "wide"}}):
            ws.send(text(message))
        answers = [msgspec.json.decode(ws.recv()) for _ in range(3)]
    assert [(a["type"], a["n"]) for a in answers] == [("error", 1), ("result", 2), ("error", 3)]
    assert answers[0]["remedy"] == "send 4 numbers: x_center, y_center, width, height"


def test_a_broken_message_does_not_end_the_session(base: str) -> None:
    session = ask(base).json()
    with connect(url_of(session)) as ws:
        ws.recv()
        ws.send("{")
        assert msgspec.json.decode(ws.recv())["type"] == "error"
        ws.send(b"bytes")
        assert "takes rows" in msgspec.json.decode(ws.recv())["reason"]
        ws.send(text({"type": "ping", "n": 9}))
        assert msgspec.json.decode(ws.recv()) == {"type": "pong", "n": 9}


def test_a_client_that_never_reads_holds_up_only_itself(cluster: Cluster, base: str) -> None:
    floods, calm = (ask(base, client=name).json() for name in ("floods", "calm"))
    processes = [psutil.Process(cluster.servers[0].pid), *cluster.workers()]
    before = [process.memory_info().rss for process in processes]
    with _raw_connection(floods) as flooding, connect(url_of(calm)) as ws:
        padding = "x" * 20_000
        # 40 MB, as far as anybody reads them, and nobody takes the results.
        with contextlib.suppress(TimeoutError):
            for n in range(1, 2001):
                flooding.sendall(_frame(text({"n": n, "row": ROW, "padding": padding})))
        ws.recv()
        for n in range(1, 51):
            ws.send(text({"n": n, "row": ROW}))
            assert msgspec.json.decode(ws.recv(timeout=20))["n"] == n
        grown = [process.memory_info().rss - rss for process, rss in zip(processes, before, strict=True)]
        assert max(grown) < 25e6, grown
    for session in (floods, calm):
        httpx.delete(f"{base}/sessions/{session['id']}", headers={"Session-Token": session["token"]})


def test_a_message_over_the_limit_ends_one_connection(base: str) -> None:
    session = ask(base).json()
    with connect(url_of(session)) as ws:
        resume = msgspec.json.decode(ws.recv())["resume"]
        ws.send(text({"n": 1, "row": ROW}))
        assert msgspec.json.decode(ws.recv())["n"] == 1
        # With 1009, where its end arrives before the connection is reset.
        with pytest.raises(ConnectionClosed):
            ws.send("x" * 8_000_001)
            ws.recv(timeout=20)
    with connect(url_of(session, resume=resume, after=0)) as ws:
        assert msgspec.json.decode(ws.recv())["resumed"] is True
        assert msgspec.json.decode(ws.recv())["n"] == 1


def test_a_wrong_token_gets_no_results(base: str) -> None:
    mine, theirs = (ask(base, client=name).json() for name in ("mine", "theirs"))
    with connect(url_of(theirs)) as ws:
        resume = msgspec.json.decode(ws.recv())["resume"]
        # Neither another session's token opens it, nor does a resume token without the session's own.
        stolen = f"{theirs['url']}?token={mine['token']}&resume={resume}"
        with pytest.raises(InvalidStatus) as refused, connect(stolen):
            pass
        assert refused.value.response.status_code == 401
        with pytest.raises(InvalidStatus) as unknown, connect(url_of(mine, resume=resume)):
            pass
        assert unknown.value.response.status_code == 410
        ws.send(text({"n": 1, "row": ROW}))
        assert msgspec.json.decode(ws.recv())["n"] == 1


def test_a_repeated_request_gets_the_same_session(base: str) -> None:
    key = {"Idempotency-Key": "trip 1"}
    first, second = (ask(base, headers=key) for _ in range(2))
    assert first.json() == second.json()
    other = ask(base, client="car-2", headers=key)
    assert other.status_code == 422
    assert other.json()["reason"] == "idempotency_key_reused"


def test_look_extend_and_end(base: str) -> None:
    session = ask(base, ttl_s=60).json()
    url, headers = f"{base}/sessions/{session['id']}", {"Session-Token": session["token"]}
    assert httpx.get(url).status_code == 404
    assert httpx.get(url, headers=headers).json()["state"] == "ready"
    extended = httpx.patch(url, headers=headers, json={"ttl_s": 600})
    assert extended.json()["expires_at"] > session["expires_at"]
    with connect(url_of(session)) as ws:
        ws.recv()
        assert httpx.delete(url, headers=headers).status_code == 204
        with pytest.raises(ConnectionClosed):
            ws.recv(timeout=5)
    gone = httpx.get(url, headers=headers)
    assert (gone.status_code, gone.json()["reason"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({"kind": "video", "client": "c"}, 422, "unknown_model"),
        ({"kind": "object", "client": "c", "model": "hazard:1"}, 422, "unknown_model"),
        ({"kind": "scalar", "client": ""}, 422, "invalid"),
        ({"kind": "scalar"}, 422, "invalid"),
        ({"kind": "scalar", "client": "c", "ttl_s": 0}, 422, "invalid"),
        ({"kind": "scalar", "client": "c", "colour": "red"}, 422, "invalid"),
        ({"kind": "scalar", "client": "c", "needs": {"gpu": True}}, 422, "no_such_hardware"),
    ],
)
def test_refusals_have_one_shape(base: str, body: dict[str, object], status: int, reason: str) -> None:
    answer = httpx.post(f"{base}/sessions", json=body)
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert answer.json().keys() == {"reason", "detail", "remedy"}
    assert answer.json()["remedy"]


def test_framework_refusals_have_the_same_shape(base: str) -> None:
    answers = [
        httpx.get(f"{base}/nothing"),
        httpx.put(f"{base}/sessions"),
        httpx.post(f"{base}/sessions", content="x"),
        httpx.get(f"{base}/sessions/x?wait_s=soon"),
        httpx.get(f"{base}/app-service?type=image"),
    ]
    assert [a.status_code for a in answers] == [404, 405, 415, 422, 404]
    assert all(a.json().keys() == {"reason", "detail", "remedy"} for a in answers)


def test_the_operator_sees_who_is_where(cluster: Cluster, base: str) -> None:
    session = ask(base, client="seen").json()
    listed = next(s for s in cluster.list_all()["sessions"] if s["id"] == session["id"])
    assert listed["client"] == "seen"
    assert listed["owner"] == "address 127.0.0.1"
    assert "token" not in listed


def _raw_connection(session: dict[str, str]) -> socket.socket:
    """A WebSocket without a library, which would read results; sending times out where nobody reads."""
    address = urlsplit(session["url"])
    raw = socket.create_connection((str(address.hostname), address.port or 80), timeout=20)
    raw.sendall(
        f"GET {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"Authorization: Bearer {session['token']}\r\n\r\n".encode()
    )
    assert raw.recv(4096).startswith(b"HTTP/1.1 101")
    raw.settimeout(0.5)
    return raw


def _frame(message: str) -> bytes:
    """A text frame with a mask of zeros."""
    data = message.encode()
    return b"\x81\xfe" + len(data).to_bytes(2) + bytes(4) + data
