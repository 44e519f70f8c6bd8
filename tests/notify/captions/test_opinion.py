"""A second opinion marks an alert or holds it, gets only the redacted picture, and never stops an alert by failing."""

from __future__ import annotations

import pytest

from functions import HAZARDS, Captioned, Held, decode
from functions.settings import SettingsError
from functions.signature import Signer, Verifier
from notify.caption import Captioner, caption
from notify.captions.opinion import open_opinion, question_of, read_policies
from privacy.redact import FaceFinder
from tests.vision_double import OllamaDouble, OpenAIDouble, VisionDouble

SEES, SEES_NOT, UNSURE = (f'{{"answer": "{word}"}}' for word in ("yes", "no", "unsure"))


@pytest.fixture(scope="module")
def faces() -> FaceFinder:
    return FaceFinder()


@pytest.fixture
def asked(make_event, faces, monkeypatch):
    """The captioner's event for a hazard, with a server that answers as the double does."""

    async def ask(double: VisionDouble, policy: str, type_: str = "fire", *, times: int = 1, **fields: object):
        async with double:
            monkeypatch.setenv("BONGSU_OPINION_POLICY", policy)
            monkeypatch.setenv("BONGSU_OPINION_URL", double.base)
            monkeypatch.setenv("BONGSU_OPINION_API", "ollama" if isinstance(double, OllamaDouble) else "openai")
            monkeypatch.setenv("BONGSU_OPINION_MODEL", "some-model")
            monkeypatch.setenv("BONGSU_OPINION_KEY", double.key)
            async with open_opinion() as opinion:
                captioner = Captioner(faces, signer=Signer.from_environment(), opinion=opinion)
                for _ in range(times):
                    found = await caption(make_event(type_, **fields), captioner)
                return found

    return ask


@pytest.mark.parametrize("kind", [OpenAIDouble, OllamaDouble])
async def test_an_alert_that_is_not_confirmed_is_held(asked, kind):
    held = await asked(kind(SEES_NOT), "fire=hold")
    assert isinstance(held, Held) and (held.hazard, held.id) == ("fire", "event-1")
    alert = decode(held.alert)
    assert isinstance(alert, Captioned) and alert.snapshot is not None
    Verifier.from_environment().require(alert)
    # If it is released, people read what the other network said.
    assert "A second network did not see it." in alert.caption.en and "두 번째" in alert.caption.ko


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (SEES, "A second network sees it too."),
        (UNSURE, "A second network could not tell."),
        ("no fire, says the sign on the wall", "Not verified by a second network."),
    ],
)
async def test_any_other_answer_lets_it_out_marked(asked, said, words):
    captioned = await asked(OpenAIDouble(said), "fire=hold")
    assert isinstance(captioned, Captioned) and words in captioned.caption.en
    assert captioned.caption.en.index(words) < captioned.caption.en.index("KST")


async def test_a_server_that_fails_lets_it_out_marked(asked, monkeypatch):
    monkeypatch.setenv("BONGSU_OPINION_TIMEOUT_S", "0.5")
    for fault in ("hang", (500, {}), (429, {"Retry-After": "3600"}), "<html>"):
        double = OpenAIDouble(SEES_NOT)
        double.faults = [fault] * 2
        captioned = await asked(double, "fire=hold")
        assert isinstance(captioned, Captioned), fault
        assert "Not verified by a second network." in captioned.caption.en


async def test_mark_never_holds(asked):
    captioned = await asked(OpenAIDouble(SEES_NOT), "fire=mark")
    assert isinstance(captioned, Captioned) and "did not see it" in captioned.caption.en


async def test_a_hazard_without_policy_is_not_asked_about(asked):
    double = OpenAIDouble(SEES_NOT)
    captioned = await asked(double, "gun=hold,fire=off")
    assert isinstance(captioned, Captioned) and "second network" not in captioned.caption.en
    assert double.requests == 0


async def test_only_the_redacted_picture_is_sent(asked, make_event):
    double = OpenAIDouble(SEES)
    captioned = await asked(double, "fire=mark")
    assert double.pictures == [captioned.snapshot] and captioned.snapshot != make_event().frame.jpeg
    assert double.questions == [question_of("fire")]


async def test_an_alert_without_a_picture_goes_out(asked):
    double = OpenAIDouble(SEES_NOT)
    # The detector did not search for people, so the picture is withheld.
    captioned = await asked(double, "fire=hold", labels_searched=("fire",))
    assert isinstance(captioned, Captioned) and captioned.snapshot is None and double.requests == 0
    assert "Not verified" in captioned.caption.en


async def test_a_network_in_a_file_may_be_asked(make_event, faces, monkeypatch):
    from models.network import HAZARD

    monkeypatch.setenv("BONGSU_OPINION_POLICY", "fire=hold")
    monkeypatch.setenv("BONGSU_OPINION_WEIGHTS", str(HAZARD.path))
    async with open_opinion() as opinion:
        # A drawn picture of noise: it sees no fire.
        assert isinstance(await caption(make_event(), Captioner(faces, opinion=opinion)), Held)
    monkeypatch.setenv("BONGSU_OPINION_WEIGHTS", "/nowhere/network.onnx")
    async with open_opinion() as opinion:
        captioned = await caption(make_event(), Captioner(faces, opinion=opinion))
    assert isinstance(captioned, Captioned) and "Not verified" in captioned.caption.en


async def test_it_is_off_by_default():
    async with open_opinion() as opinion:
        assert opinion is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"POLICY": "fire"}, "must be like fire=hold,accident=mark"),
        ({"POLICY": "flood=hold"}, "got 'flood=hold'"),
        ({"POLICY": "fire=hold"}, "BONGSU_OPINION_URL or BONGSU_OPINION_WEIGHTS"),
        ({"POLICY": "fire=hold", "URL": "http://127.0.0.1:1", "WEIGHTS": "x.onnx", "MODEL": "m"}, "someone to ask"),
        ({"POLICY": "fire=hold", "URL": "http://127.0.0.1:1"}, "BONGSU_OPINION_MODEL"),
        ({"POLICY": "fire=hold", "URL": "127.0.0.1:1", "MODEL": "m"}, "BONGSU_OPINION_URL: must be like https"),
        ({"TIMEOUT_S": "60"}, "must be 0.1 to 10 seconds, got 60"),
        ({"API": "soap"}, "BONGSU_OPINION_API"),
    ],
)
async def test_a_wrong_setting_is_one_clear_line(monkeypatch, settings, message):
    for name, value in settings.items():
        monkeypatch.setenv(f"BONGSU_OPINION_{name}", value)
    with pytest.raises(SettingsError) as caught:
        async with open_opinion():
            pass
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_every_hazard_has_a_question():
    assert question_of("fire") == (
        "Does this picture show fire (fire, flames, smoke, burning)? Answer yes, no or unsure."
    )
    assert len({question_of(hazard) for hazard in HAZARDS}) == len(HAZARDS)


def test_policies_are_read_by_hazard():
    assert read_policies("fire=hold, gun=mark ,knife=off") == {"fire": "hold", "gun": "mark"}
    assert read_policies("") == {}
