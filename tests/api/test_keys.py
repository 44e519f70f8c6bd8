"""Keys, sessions and the gate: who may read, who may write, and what a stranger learns from trying."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import AsyncIterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import cli
from api.server import create_app, open_site
from api.settings import Settings
from api.settings import load as load_settings
from functions.cli import run_command
from web.keys import KeyFileError, Keyring, digest_of, parse_keys
from web.limits import Buckets, Proxies

REVIEW = "/api/incidents/1/review"
SAID = {"verdict": "acknowledged", "note": ""}


@contextlib.asynccontextmanager
async def ask(tmp_path, *, peer="127.0.0.1", scheme="http", **given) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application with these settings, as it comes from `peer`."""
    kept = {"database_url": f"sqlite+aiosqlite:///{tmp_path}/a.db", "snapshot_url": str(tmp_path / "s")}
    async with open_site(Settings(**(kept | given))) as site:
        transport = httpx.ASGITransport(create_app(site), client=(peer, 1234))
        async with httpx.AsyncClient(transport=transport, base_url=f"{scheme}://bongsu") as client:
            client.site = site
            yield client


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_open_reading_needs_no_key_and_writing_does(tmp_path, keys, make_event):
    async with ask(tmp_path, api_keys=str(tmp_path / "keys")) as client:
        await client.site.store.sightings.record(make_event())
        assert (await client.get("/api/incidents")).status_code == 200
        refused = await client.post(REVIEW, json=SAID)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        refused = await client.post(REVIEW, json=SAID, headers=bearer(keys["viewer"]))
        assert refused.status_code == 403 and "viewer-1" in refused.json()["detail"]
        assert (await client.post(REVIEW, json=SAID, headers=bearer(keys["operator"]))).status_code == 200


async def test_keyed_reading_shows_strangers_only_the_page(tmp_path, keys, make_event):
    async with ask(tmp_path, api_keys=str(tmp_path / "keys"), api_read="key") as client:
        await client.site.store.sightings.record(make_event())
        for path in (
            *("/api/incidents", "/api/incidents/1", "/api/incidents/stream", "/api/cameras", "/api/pipeline"),
            *(
                "/feed.json",
                "/feed.atom",
                "/cap.xml",
                "/cap/1.xml",
                "/api/incidents/1/snapshot",
                "/api/posts/1/snapshot",
            ),
        ):
            refused = await client.get(path)
            assert refused.status_code == 401 and "Bearer" in refused.headers["www-authenticate"], path
            assert "Authorization" in refused.json()["detail"]
        for path in ("/", "/static/js/main.js", "/healthz", "/api/session"):
            assert (await client.get(path)).status_code == 200, path
        answer = await client.get("/api/incidents", headers=bearer(keys["viewer"]))
        assert answer.status_code == 200
        assert (answer.headers["cache-control"], answer.headers["vary"]) == (
            "private, no-cache",
            "Authorization, Cookie",
        )


async def test_session_stands_for_its_key_until_it_is_ended(tmp_path, keys):
    async with ask(tmp_path, api_keys=str(tmp_path / "keys"), api_read="key") as client:
        assert (await client.get("/api/session")).json() == {
            "name": None, "role": None, "read": "key", "reviews": True,
        }  # fmt: skip
        answer = await client.post("/api/session", json={"key": keys["operator"]})
        assert answer.json() == {"name": "operator-1", "role": "operator", "read": "key"}
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Secure" not in cookie
        assert keys["operator"] not in cookie
        assert (await client.get("/api/session")).json()["role"] == "operator"
        assert (await client.get("/api/incidents")).status_code == 200
        token = client.cookies["bongsu_session"]
        assert (await client.delete("/api/session")).status_code == 204
        client.cookies.clear()
        # The session is over, not only forgotten by this browser.
        assert (await client.get("/api/incidents", headers={"Cookie": f"bongsu_session={token}"})).status_code == 401


async def test_session_outlives_the_process_but_not_its_key(tmp_path, keys):
    given = {"api_keys": str(tmp_path / "keys"), "api_read": "key"}
    async with ask(tmp_path, **given) as client:
        await client.post("/api/session", json={"key": keys["viewer"]})
        cookies = dict(client.cookies)
    async with ask(tmp_path, **given) as client:
        client.cookies.update(cookies)
        assert (await client.get("/api/session")).json()["name"] == "viewer-1"
        (tmp_path / "keys").write_text("")
        assert (await client.get("/api/session")).json()["name"] is None
        assert (await client.get("/api/incidents")).status_code == 401


@pytest.mark.parametrize("foreign", ['seen={"a": 1}', "view=[1 2]", "name=é", "a b=c", "alone", '"', "=;;="])
async def test_session_survives_foreign_cookies(tmp_path, keys, foreign):
    async with ask(tmp_path, api_keys=str(tmp_path / "keys")) as client:
        await client.post("/api/session", json={"key": keys["operator"]})
        ours = f"bongsu_session={client.cookies['bongsu_session']}"
        client.cookies.clear()
        for sent in (f"{foreign}; {ours}", f"{ours}; {foreign}"):
            shown = await client.get("/api/session", headers={"Cookie": sent.encode()})
            assert shown.json()["role"] == "operator", sent


async def test_cookie_is_secure_where_readers_come_by_https(tmp_path, keys):
    given = {"api_keys": str(tmp_path / "keys")}
    body = {"key": keys["viewer"]}
    for more, scheme, headers in (
        ({}, "https", {}),
        ({"public_url": "https://alerts.example.org"}, "http", {}),
        ({"trusted_proxies": "127.0.0.1"}, "http", {"X-Forwarded-Proto": "https"}),
    ):
        async with ask(tmp_path, scheme=scheme, **given, **more) as client:
            answer = await client.post("/api/session", json=body, headers=headers)
            assert "Secure" in answer.headers["set-cookie"]
    async with ask(tmp_path, **given) as client:
        answer = await client.post("/api/session", json=body, headers={"X-Forwarded-Proto": "https"})
        assert "Secure" not in answer.headers["set-cookie"]


async def test_guessing_is_soon_not_even_heard(tmp_path, keys, capfd):
    async with ask(tmp_path, api_keys=str(tmp_path / "keys")) as client:
        answers = [await client.get("/api/incidents", headers=bearer(f"guess-{n}")) for n in range(10)]
        assert {answer.status_code for answer in answers} == {401}
        for refused in (
            await client.get("/api/incidents", headers=bearer(keys["operator"])),
            await client.post("/api/session", json={"key": keys["operator"]}),
        ):
            assert refused.status_code == 429 and 1 <= int(refused.headers["retry-after"]) <= 6
        # Who sends no key reads on.
        assert (await client.get("/api/incidents")).status_code == 200
    shown = "".join(capfd.readouterr())
    assert "guess-" not in shown and keys["operator"] not in shown


@pytest.mark.parametrize(
    ("type_", "body", "status"),
    [
        ("text/plain", '{"key": "x"}', 415), ("application/x-www-form-urlencoded", "key=x", 415),
        ("application/json", "{", 422), ("application/json", '{"key": 1}', 422), ("application/json", "[]", 422),
        ("application/json", '{"key": "x", "more": 1}', 422), ("application/json", '{"key": "' + "x" * 20_000, 413),
        ("application/json", "[" * 10_000, 422), ("application/json; charset=utf-8", '{"key": "x"}', 401),
    ],
)  # fmt: skip
async def test_body_that_is_no_key_is_one_clear_line(tmp_path, type_, body, status):
    async with ask(tmp_path) as client:
        refused = await client.post("/api/session", content=body, headers={"Content-Type": type_})
        assert refused.status_code == status
        assert set(refused.json()) == {"detail"} and "\n" not in refused.json()["detail"]


async def test_each_client_may_ask_so_much_and_no_more(tmp_path, keys, make_event):
    async with ask(tmp_path, api_keys=str(tmp_path / "keys"), rate_limit=3) as client:
        assert [(await client.get("/api/cameras")).status_code for _ in range(4)] == [200, 200, 200, 429]
        refused = await client.get("/api/cameras")
        assert int(refused.headers["retry-after"]) >= 1 and "try again in" in refused.json()["detail"]
        # A key has tokens of its own; what watches the process takes none.
        assert (await client.get("/api/cameras", headers=bearer(keys["viewer"]))).status_code == 200
        assert (await client.get("/healthz")).status_code == 200


async def test_forged_address_buys_no_tokens(tmp_path):
    async def answers(proxies: str, peer: str) -> list[int]:
        async with ask(tmp_path, rate_limit=2, trusted_proxies=proxies, peer=peer) as client:
            hops = (f"198.51.100.{number}" for number in range(4))
            return [(await client.get("/api/cameras", headers={"X-Forwarded-For": hop})).status_code for hop in hops]

    assert await answers("", "203.0.113.9") == [200, 200, 429, 429]
    assert await answers("10.0.0.0/8", "203.0.113.9") == [200, 200, 429, 429]
    assert await answers("10.0.0.0/8", "10.1.2.3") == [200, 200, 200, 200]


def test_client_is_the_last_stranger_before_our_proxies():
    proxies = Proxies(["10.0.0.0/8", "fd00::/8"])
    assert proxies.client("10.0.0.1", "1.2.3.4, 203.0.113.9, 10.0.0.2") == "203.0.113.9"
    assert proxies.client("10.0.0.1", "") == "10.0.0.1"
    assert proxies.client("10.0.0.1", "what, ever") == "10.0.0.1"
    assert proxies.client("203.0.113.9", "1.2.3.4") == "203.0.113.9"
    assert proxies.client("::ffff:10.0.0.1", "1.2.3.4") == "1.2.3.4"
    # Some gateways write a port, and brackets around IPv6.
    assert proxies.client("10.0.0.1", "1.2.3.4, 203.0.113.9:51234, 10.0.0.2:80") == "203.0.113.9"
    assert proxies.client("10.0.0.1", "[2001:db8::1]:51234") == proxies.client("10.0.0.1", "[2001:db8::1]")
    assert proxies.client("10.0.0.1", "2001:db8::1") == "2001:db8::/64"
    assert proxies.client("10.0.0.1", "for=203.0.113.9") == "203.0.113.9"
    assert proxies.client("2001:db8::1", "") == proxies.client("2001:db8::2", "") == "2001:db8::/64"


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("for=203.0.113.9", "203.0.113.9"),
        ('For="203.0.113.9:51234";proto=https;by=10.0.0.1, for=10.0.0.2', "203.0.113.9"),
        ('for=1.2.3.4, for="[2001:db8:cafe::17]:4711";proto=http', "2001:db8:cafe::/64"),
        ('for="a, b;c=\\"d", for=203.0.113.9', "203.0.113.9"),
        ("for=unknown", "10.0.0.1"),
        ("for=_hidden;proto=https", "10.0.0.1"),
        ("for=", "10.0.0.1"),
        ("what ever", "10.0.0.1"),
        ('for="203.0.113.9', "10.0.0.1"),
    ],
)
def test_forwarded_names_the_client(forwarded, client):
    proxies = Proxies(["10.0.0.0/8"])
    assert proxies.client("10.0.0.1", "", forwarded) == client
    assert proxies.client("203.0.113.1", "", forwarded) == "203.0.113.1"


def test_headers_that_contradict_each_other_are_not_believed(capfd):
    proxies = Proxies(["10.0.0.0/8"])
    # The proxy writes one of the two; the other is the client's own invention.
    assert proxies.client("10.0.0.1", "203.0.113.9", "for=1.2.3.4") == "10.0.0.1"
    assert proxies.client("10.0.0.1", "203.0.113.9", "for=1.2.3.5") == "10.0.0.1"
    assert proxies.client("10.0.0.1", "203.0.113.9", 'for="203.0.113.9:80"') == "203.0.113.9"
    assert "".join(capfd.readouterr()).count("forwarded_headers_differ") == 1


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_header_names_somebody(forwarded_for, forwarded):
    assert Proxies(["10.0.0.0/8"]).client("10.0.0.1", forwarded_for, forwarded)


async def test_feeds_are_read_with_basic(tmp_path, keys, make_event):
    async with ask(tmp_path, api_keys=str(tmp_path / "keys"), api_read="key") as client:
        await client.site.store.sightings.record(make_event())
        for path in ("/feed.json", "/feed.atom", "/cap.xml", "/cap/1.xml"):
            refused = await client.get(path)
            assert refused.status_code == 401 and "Basic realm=" in refused.headers["www-authenticate"], path
            for login in (("reader", keys["viewer"]), (keys["viewer"], ""), ("", keys["operator"])):
                assert (await client.get(path, auth=login)).status_code == 200, path
                assert (await client.head(path, auth=login)).status_code == 200, path
            assert (await client.get(path, auth=("reader", "wrong"))).status_code == 401
            assert (await client.get(path, headers={"Authorization": "Basic %%%"})).status_code == 401
            # The page's own script is refused without a window of the browser in between.
            refused = await client.get(path, headers={"X-Requested-With": "XMLHttpRequest"})
            assert refused.headers["www-authenticate"] == 'Bearer realm="bongsu"'
        # The pictures in them are read so too, but the page's own requests never have a browser ask.
        for path in ("/api/incidents", "/api/session", "/api/incidents/1/snapshot"):
            assert "Basic" not in (await client.get(path)).headers.get("www-authenticate", "")
        answer = await client.get("/api/incidents/1/snapshot", auth=("reader", keys["viewer"]))
        assert answer.json()["detail"].startswith("incident 1 has no picture")
        assert (await client.get("/api/session", auth=("", keys["operator"]))).json()["role"] is None
        assert (await client.post(REVIEW, json=SAID, auth=("", keys["operator"]))).status_code == 401


def test_bucket_fills_again_and_knows_so_many_clients_at_most(monkeypatch):
    now = [0.0]
    buckets = Buckets(60, clock=lambda: now[0])
    assert [buckets.take("a") for _ in range(60)] == [0.0] * 60
    assert buckets.take("a") == pytest.approx(1.0) and buckets.take("b") == 0.0
    now[0] += 1.5
    assert buckets.take("a") == 0.0 and buckets.take("a") == pytest.approx(0.5)
    monkeypatch.setattr("web.limits._CLIENTS_MAX", 10)
    for number in range(100):
        buckets.take(str(number))
    assert len(buckets._levels) <= 11


@pytest.mark.parametrize(
    "line",
    [
        "somebody secret-in-the-wrong-place",
        "some body operator " + "0" * 64,
        "somebody admin " + "0" * 64,
        "somebody viewer bongsu_plain",
    ],
)
def test_bad_line_is_refused_by_its_number_and_never_shown(line):
    with pytest.raises(KeyFileError, match=r"line 2 must be `name role sha256`") as refusal:
        parse_keys(f"# keys\n{line}\n", "keys")
    assert line.split()[-1] not in str(refusal.value)
    with pytest.raises(KeyFileError, match="line 2: the name 'a' is used twice"):
        parse_keys(f"a viewer {'0' * 64}\na viewer {'1' * 64}", "keys")


def test_half_written_file_locks_nobody_out(tmp_path, keys):
    ring = Keyring.open(str(tmp_path / "keys"))
    (tmp_path / "keys").write_text("operator-1 oper")
    assert ring.find(keys["operator"]).name == "operator-1"
    with pytest.raises(KeyFileError, match="line 1"):
        Keyring.open(str(tmp_path / "keys"))
    with pytest.raises(KeyFileError, match="BONGSU_API_KEYS: cannot read"):
        Keyring.open(str(tmp_path / "none"))


def test_key_is_printed_once_with_the_line_to_add(tmp_path, capsys):
    assert run_command(cli.key, ["new", "fire-brigade", "--role", "operator"]) == 0
    shown = capsys.readouterr()
    (line,) = shown.out.splitlines()
    name, role, digest = line.split()
    (text,) = (word for word in shown.err.split() if word.startswith("bongsu_"))
    assert (name, role, digest) == ("fire-brigade", "operator", digest_of(text))
    # Its output is the line alone, so that `>> keys` does what one hopes.
    (tmp_path / "keys").write_text(shown.out)
    assert Keyring.open(str(tmp_path / "keys")).find(text).name == "fire-brigade"
    assert run_command(cli.key, ["new", "fire brigade", "--role", "viewer"]) == 1
    assert "'fire brigade'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BONGSU_API_READ", "sometimes"), ("BONGSU_API_READ", "key"), ("BONGSU_RATE_LIMIT", "-1"),
        ("BONGSU_CORS_ORIGINS", "map.example.org"), ("BONGSU_TRUSTED_PROXIES", "proxy"),
    ],
)  # fmt: skip
def test_wrong_setting_names_the_variable_and_the_value(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=name) as refusal:
        load_settings()
    assert value in str(refusal.value)


async def test_pages_of_named_sites_alone_may_read(tmp_path):
    asks = {"Origin": "https://map.example.org", "Access-Control-Request-Method": "GET"}
    asks["Access-Control-Request-Headers"] = "authorization"
    async with ask(tmp_path) as client:
        assert "access-control-allow-origin" not in (await client.get("/api/incidents", headers=asks)).headers
    async with ask(tmp_path, cors_origins="https://map.example.org", rate_limit=2) as client:
        answer = await client.options("/api/incidents", headers=asks)
        assert answer.status_code == 200 and "Authorization" in answer.headers["access-control-allow-headers"]
        for status in (200, 200, 429):
            answer = await client.get("/api/incidents", headers=asks)
            # A refusal can be read too, or the page could not say why.
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == "https://map.example.org"
        assert "access-control-allow-credentials" not in answer.headers
        other = await client.get("/healthz", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers


def test_wrong_key_takes_as_long_as_a_right_one(tmp_path):
    lines = [f"key-{number} viewer {digest_of(str(number))}" for number in range(200)]
    (tmp_path / "keys").write_text("\n".join(lines))
    ring = Keyring.open(str(tmp_path / "keys"))
    compared = 0
    real = __import__("hmac").compare_digest

    def count(one: str, other: str) -> bool:
        nonlocal compared
        compared += 1
        return real(one, other)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("web.keys.hmac.compare_digest", count)
        for text in ("0", "199", "wrong"):
            compared = 0
            ring.find(text)
            assert compared == 200


def test_changed_file_is_read_again(tmp_path, keys):
    ring = Keyring.open(str(tmp_path / "keys"))
    assert ring.has_operator
    (tmp_path / "keys").write_text("")
    os.utime(tmp_path / "keys", (time.time() + 5, time.time() + 5))
    assert not ring.has_operator and ring.find(keys["viewer"]) is None


async def test_errors_are_one_line_of_json(tmp_path):
    async with ask(tmp_path) as client:
        for path, status in (("/api/nothing", 404), ("/api/incidents/x", 422), ("/api/cameras/x/snapshot", 404)):
            refused = await client.get(path)
            assert refused.status_code == status and set(json.loads(refused.content)) == {"detail"}
