"""What the environment says, and the tokens that are made with its secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from functions.settings import SettingsError
from sessions.settings import counts, load
from sessions.tokens import Tokens


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("BONGSU_SESSIONS_ASK", "key", "BONGSU_API_KEYS must name a key file"),
        ("BONGSU_SESSIONS_WARM", "video=1", "BONGSU_SESSIONS_WARM must be like object=1"),
        ("BONGSU_SESSIONS_WAIT_S", "0", "BONGSU_SESSIONS_WAIT_S must be seconds above 0, got 0.0"),
        ("BONGSU_SESSIONS_UPSTREAM", "dc.example.org", "BONGSU_SESSIONS_UPSTREAM must be like https://"),
        ("BONGSU_SESSIONS_PORT", "70000", "BONGSU_SESSIONS_PORT must be 0 to 65535"),
        ("BONGSU_SESSIONS_STATE", "/" + "deep/" * 30, "the path of a socket has 100 bytes at most"),
        ("BONGSU_TRUSTED_PROXIES", "ours", "BONGSU_TRUSTED_PROXIES must be like"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv("BONGSU_SESSIONS_ASK", "open")
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=message):
        load()


def test_counts_are_read() -> None:
    assert counts("X", "scalar=2, object=1") == {"scalar": 2, "object": 1}
    assert counts("X", "") == {}


def test_servers_with_one_secret_know_each_others_tokens(tmp_path: Path) -> None:
    first, second = (Tokens.open(tmp_path / "state/secret") for _ in range(2))
    id_ = first.id_of("key a", "trip")
    assert second.id_of("key a", "trip") == id_
    assert second.is_token(id_, first.token_of(id_))
    assert not second.is_token(id_, first.token_of("another"))
    assert not second.is_token(id_, "")
    assert first.id_of("key a", "b:trip") != first.id_of("key a:b", "trip")
    assert (tmp_path / "state/secret").stat().st_mode & 0o077 == 0


def test_a_short_secret_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"short")
    with pytest.raises(SettingsError, match="has 5 bytes, 32 are needed"):
        Tokens.open(tmp_path / "secret")
