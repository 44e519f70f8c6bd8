"""Who may ask, see and end what, where keys are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.sessions.cluster import Process, ask, free_port, running_cluster
from web.keys import Role, new_key


@pytest.fixture(scope="module")
def keys() -> dict[str, tuple[str, str]]:
    """Text and line of a key by its name."""
    roles: dict[str, Role] = {"alice": "viewer", "bob": "viewer", "olga": "operator"}
    made = {name: new_key(name, role) for name, role in roles.items()}
    return {name: (text, f"{key.name} {key.role} {key.digest}") for name, (text, key) in made.items()}


@pytest.fixture(scope="module")
def base(keys: dict[str, tuple[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text("\n".join(line for _, line in keys.values()))
    with running_cluster(sessions_ask="key", api_keys=str(file), sessions_wait_s="30") as running:
        yield running.serve()


def _as(keys: dict[str, tuple[str, str]], name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {keys[name][0]}"}


def test_asking_takes_a_key(base: str) -> None:
    refused = ask(base)
    assert (refused.status_code, refused.json()["reason"]) == (401, "key")
    assert refused.json()["remedy"] == "send Authorization: Bearer KEY"
    assert "WWW-Authenticate" in refused.headers
    assert ask(base, headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_each_key_sees_its_own_sessions_and_an_operator_all(base: str, keys: dict[str, tuple[str, str]]) -> None:
    session = ask(base, headers=_as(keys, "alice")).json()
    url = f"{base}/sessions/{session['id']}"
    assert httpx.get(url, headers=_as(keys, "alice")).status_code == 200
    assert httpx.get(url, headers=_as(keys, "bob")).status_code == 404
    assert httpx.delete(url, headers=_as(keys, "bob")).status_code == 404
    assert httpx.get(f"{base}/sessions", headers=_as(keys, "alice")).json()["reason"] == "operator_only"
    for name, status in (("alice", 403), ("olga", 200)):
        undone = httpx.post(f"{base}/drain", json={"is_drained": False}, headers=_as(keys, name))
        assert undone.status_code == status
    assert httpx.post(f"{base}/drain", json={}).status_code == 401
    listed = httpx.get(f"{base}/sessions", headers=_as(keys, "olga")).json()["sessions"]
    assert [s["owner"] for s in listed] == ["key alice"]
    assert httpx.delete(url, headers=_as(keys, "olga")).status_code == 204


def test_the_same_idempotency_key_of_two_owners_is_two_sessions(base: str, keys: dict[str, tuple[str, str]]) -> None:
    ids = [ask(base, headers={**_as(keys, name), "Idempotency-Key": "1"}).json()["id"] for name in ("alice", "bob")]
    assert ids[0] != ids[1]


def test_a_server_without_keys_does_not_start(tmp_path: Path) -> None:
    env = {"BONGSU_SESSIONS_STATE": str(tmp_path), "BONGSU_SESSIONS_PORT": str(free_port()), "BONGSU_API_KEYS": ""}
    server = Process("sessions.server", env, tmp_path / "out")
    assert server.wait() == 1
    assert "BONGSU_SESSIONS_ASK is 'key', so BONGSU_API_KEYS must name a key file" in (tmp_path / "out").read_text()


def test_two_agents_do_not_share_a_state(tmp_path: Path) -> None:
    with running_cluster(sessions_warm="") as running:
        running.serve()
        second = Process("sessions.agent", running.settings, tmp_path / "out")
        assert second.wait() == 1
        assert "another agent runs on" in (tmp_path / "out").read_text()
