"""The captioner's signature: what it covers, whose keys are accepted, and what a forged event becomes."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from functions import Box, Caption, Captioned, Detection, Event, HazardSeen, Place, decode, encode, new_id, utc_now
from functions.settings import SettingsError
from functions.signature import SignatureError, Signer, Verifier, new_private_key, public_key_of

OURS, THEIRS = new_private_key(), new_private_key()


def captioned() -> Captioned:
    return Captioned(
        id=new_id(), camera="gate-1", place=Place(37.5559, 126.9368, "Sinchon Market"), hazard="fire",
        captured_at=datetime(2026, 11, 27, 12, 0, 0, 123_457, UTC), caption=Caption("Fire at gate 1", "1번 문 화재"),
        detections=(Detection("fire", 0.912345678, Box(0.1, 0.2, 0.3, 1 / 3)),),
        snapshot=b"\xff\xd8 mosaicked", thumbnail=b"\xff\xd8 small", location=b"\xff\xd8 map",
    )  # fmt: skip


def signer(monkeypatch: pytest.MonkeyPatch, key: str = OURS) -> Signer:
    monkeypatch.setenv("BONGSU_CAPTION_KEY", key)
    return Signer.from_environment()


def verifier(monkeypatch: pytest.MonkeyPatch, *keys: str) -> Verifier:
    monkeypatch.setenv("BONGSU_CAPTION_PUBLIC_KEYS", " , ".join(map(public_key_of, keys or (OURS,))))
    return Verifier.from_environment()


def travelled(event: Event) -> Captioned:
    """As its reader gets it: with a stage more, over the wire, and perhaps out of a buffer."""
    event = msgspec.structs.replace(event.with_stage("caption", utc_now(), utc_now()), late=True)
    got = decode(encode(event).body)
    assert isinstance(got, Captioned)
    return got


def test_what_the_captioner_signed_is_accepted_after_its_journey(monkeypatch: pytest.MonkeyPatch) -> None:
    verifier(monkeypatch).require(travelled(signer(monkeypatch).sign(captioned())))


# Published and signed by the release before captions had further languages.
WAITING = base64.b64decode(
    "j6R0eXBlqWNhcHRpb25lZKJpZLAwMTIzNDU2Nzg5YWJjZGVmpGxhdGXCpXRyYWNlkYOkbmFtZadjYXB0aW9upmdvdF9hdNb/awlwwadkb25lX2"
    "F01v9rCXDCp3ZlcnNpb24CpmNhbWVyYaZnYXRlLTGlcGxhY2WEo2xhdMtAQscnuy/sV6Nsb27LQF+79If8uSSkbmFtZa5TaW5jaG9uIE1hcmtl"
    "dKZyZWdpb26gq2NhcHR1cmVkX2F01/8dbzegawlwwKZoYXphcmSkZmlyZadjYXB0aW9ugqJlbq9GaXJlIGF0IGdhdGUgMS6ia2+2MeuyiCDrrL"
    "jsl5DshJwg7ZmU7J6sLqhzbmFwc2hvdMQBU6l0aHVtYm5haWzAqGxvY2F0aW9uwKpkZXRlY3Rpb25zkYOlbGFiZWykZmlyZapjb25maWRlbmNl"
    "yz/szMzMzMzNo2JveJTLP7mZmZmZmZrLP8mZmZmZmZrLP9MzMzMzMzPLP9mZmZmZmZqpc2lnbmF0dXJlxEAlMY3N2jt5X+8RuQihYmzwDTXt3u"
    "QCFJDZqzI7aJ7/y6V4+TIcXHzAQ0B9JRQLYOsuXMHUONNswMzwVb2xv+YE"
)
ITS_KEY = "bongsu-caption-public-A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"


def test_event_of_the_release_with_two_languages_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = decode(WAITING)
    assert isinstance(waited, Captioned) and waited.caption == Caption("Fire at gate 1.", "1번 문에서 화재.")
    assert encode(waited).body == WAITING
    monkeypatch.setenv("BONGSU_CAPTION_PUBLIC_KEYS", ITS_KEY)
    Verifier.from_environment().require(waited)


def test_caption_in_further_languages_is_signed_and_travels(monkeypatch: pytest.MonkeyPatch) -> None:
    given = msgspec.structs.replace(captioned(), caption=Caption("Fire", "화재", {"ja": "火災", "de": "Feuer"}))
    got = travelled(signer(monkeypatch).sign(given))
    verifier(monkeypatch).require(got)
    assert got.caption.texts == {"en": "Fire", "ko": "화재", "ja": "火災", "de": "Feuer"}
    assert (got.caption.text("ja"), got.caption.text("fr")) == ("火災", "")


def test_what_nobody_signed_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SignatureError, match="no signature of the captioner"):
        verifier(monkeypatch).require(travelled(captioned()))


@pytest.mark.parametrize(
    "change",
    [
        {"id": "another"}, {"hazard": "gun"}, {"camera": "gate-2"}, {"snapshot": b"\xff\xd8 a face"},
        {"snapshot": None}, {"thumbnail": b"x"}, {"location": b"x"}, {"caption": Caption("All is well", "이상 없음")},
        {"caption": Caption("Fire at gate 1", "1번 문 화재", {"ja": "異常なし"})},
        {"place": Place(0, 0, "elsewhere")}, {"detections": ()},
        {"captured_at": datetime(2026, 11, 27, 12, 0, 0, 123_458, UTC) + timedelta(days=1)},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_what_was_altered_is_rejected(monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]) -> None:
    altered = msgspec.structs.replace(signer(monkeypatch).sign(captioned()), **change)
    with pytest.raises(SignatureError, match="changed since"):
        verifier(monkeypatch).require(travelled(altered))


def test_every_field_but_the_trace_is_covered(monkeypatch: pytest.MonkeyPatch) -> None:
    # A field that is added later is covered too, as long as nobody leaves it out by name.
    tested = {"id", "hazard", "camera", "place", "captured_at", "caption", "snapshot", "thumbnail", "location"}
    assert set(Captioned.__struct_fields__) == tested | {"detections", "signature", "trace", "late", "version"}


def test_another_key_is_rejected_and_several_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    event = signer(monkeypatch, THEIRS).sign(captioned())
    with pytest.raises(SignatureError, match="not signed by a known key"):
        verifier(monkeypatch).require(event)
    verifier(monkeypatch, OURS, THEIRS).require(event)


@pytest.mark.parametrize(("name", "open_"), [("KEY", Signer), ("PUBLIC_KEYS", Verifier)])
def test_a_missing_key_ends_the_service_in_one_line(monkeypatch: pytest.MonkeyPatch, name: str, open_: Any) -> None:
    monkeypatch.delenv(f"BONGSU_CAPTION_{name}", raising=False)
    with pytest.raises(SettingsError, match=f"BONGSU_CAPTION_{name} is not set.*make secrets"):
        open_.from_environment()


def test_the_wrong_half_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BONGSU_CAPTION_PUBLIC_KEYS", OURS)
    with pytest.raises(SettingsError, match="must begin with bongsu-caption-public-") as raised:
        Verifier.from_environment()
    assert OURS[-20:] not in str(raised.value)
    monkeypatch.setenv("BONGSU_CAPTION_KEY", OURS[:-5])
    with pytest.raises(SettingsError, match="43 characters"):
        Signer.from_environment()


def test_a_captioned_event_of_version_1_is_read_and_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    old = {
        "id": "old", "type": "captioned", "camera": "gate-1", "place": {"lat": 1.0, "lon": 2.0, "name": "gate"},
        "captured_at": utc_now(), "hazard": "fire", "caption": {"en": "Fire", "ko": "화재"}, "version": 1,
    }  # fmt: skip
    event = decode(msgspec.msgpack.encode(old))
    assert isinstance(event, Captioned)
    with pytest.raises(SignatureError):
        verifier(monkeypatch).require(event)
    assert not isinstance(event, HazardSeen)
