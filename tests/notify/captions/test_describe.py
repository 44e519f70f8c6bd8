"""The optional captioning network: which of its sentences are used, and a real network (tiny, random weights) runs."""

from __future__ import annotations

import importlib.util

import pytest
from structlog.testing import capture_logs

from functions import Box, Detection
from functions.settings import SettingsError
from notify.caption import Captioner, caption, open_captioner
from notify.captions.describe import DescribeError, Describer, is_grounded, load_settings, remark_on
from privacy.redact import FaceFinder, read_back

needs_transformers = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("torch", "transformers", "PIL")),
    reason="torch, transformers and pillow are not installed: pip install 'bongsu[describe]'",
)


@pytest.mark.parametrize(
    ("sentence", "is_used"),
    [
        ("a car parked on the street at night", True),
        ("two cars on the street", False),
        ("cars parked on a road", False),
        ("a person standing next to a car", True),
        ("people standing next to a car", False),
        ("a man standing next to a car", False),
        ("a woman and a car", False),
        ("an old person on the street", False),
        ("an asian person", False),
        ("a person named kim with a car", False),
        ("no person on the street", False),
        ("a truck on the street", False),
        ("a car with smoke and flames", True),
        ("a person with a gun", False),
        ("a police car", False),
        ("the street at night", False),
        ("한 남자와 자동차 car", False),
        ("car: rtsp://x", False),
        ("", False),
        ("car " * 40, False),
    ],
)
def test_only_grounded_neutral_sentences_are_kept(sentence, is_used):
    assert is_grounded(sentence, {"person": 1, "car": 1}, {"fire", "person", "car"}) is is_used


def test_it_is_off_unless_a_model_is_named(monkeypatch):
    monkeypatch.delenv("BONGSU_CAPTION_MODEL", raising=False)
    assert load_settings().caption_model == ""
    monkeypatch.setenv("BONGSU_CAPTION_TIMEOUT_S", "60")
    with pytest.raises(SettingsError, match=r"BONGSU_CAPTION_TIMEOUT_S must be 0\.1 to 12 seconds, got 60"):
        load_settings()


async def test_model_that_cannot_be_loaded_costs_no_caption(make_event, monkeypatch, tmp_path):
    monkeypatch.setenv("BONGSU_CAPTION_MODEL", str(tmp_path / "nothing"))
    with capture_logs() as logs:
        async with open_captioner() as captioner:
            assert captioner.describer is None
            assert (await caption(make_event(), captioner)).caption.en.startswith("Fire at")
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["captioning_network_missing"]


@pytest.fixture(scope="module")
def tiny_blip(tmp_path_factory):
    """BLIP's architecture with a few thousand random weights, as a local folder."""
    import torch
    from transformers import BertTokenizerFast, BlipConfig, BlipForConditionalGeneration, BlipImageProcessor
    from transformers import BlipProcessor as Processor

    folder = tmp_path_factory.mktemp("blip")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "a", "car", "street", "man", "parked", "on", "the"]
    (folder / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    text = {**small, "vocab_size": len(words), "encoder_hidden_size": 16, "max_position_embeddings": 64,
            "bos_token_id": 5, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}  # fmt: skip
    config = BlipConfig(text_config=text, vision_config={**small, "image_size": 32, "patch_size": 16})
    BlipForConditionalGeneration(config).save_pretrained(folder)
    tokenizer = BertTokenizerFast(vocab=str(folder / "vocab.txt"))
    Processor(BlipImageProcessor(size={"height": 32, "width": 32}), tokenizer).save_pretrained(folder)
    return str(folder)


@needs_transformers
async def test_a_real_network_runs_and_what_it_makes_up_is_not_told(tiny_blip, make_event, street):
    describer = Describer(tiny_blip)
    assert isinstance(describer.describe(read_back(street)), str)
    event = make_event(detections=(*make_event().detections, Detection("car", 0.9, Box(0, 0, 0.5, 0.5))))
    output = await caption(event, Captioner(FaceFinder(), None, describer))
    assert "man" not in output.caption.en.split() and output.caption.en.startswith("Fire at")


@needs_transformers
async def test_sentence_that_is_late_is_left_out(tiny_blip, make_event, street):
    describer = Describer(tiny_blip)
    with capture_logs() as logs:
        assert await remark_on(make_event(), read_back(street), {"car": 1}, describer, 0.0) == ""
    assert logs[0]["event"] == "description_left_out" and "took more than 0 s" in logs[0]["reason"]


@needs_transformers
def test_folder_without_a_model_is_one_line(tmp_path):
    with pytest.raises(DescribeError, match="BONGSU_CAPTION_MODEL=") as caught:
        Describer(str(tmp_path))
    assert "\n" not in str(caught.value)


class _Says:
    def __init__(self, sentence):
        self.sentence = sentence

    def describe(self, picture):
        return self.sentence


async def test_sentence_comes_last_and_in_the_networks_name(make_event):
    event = make_event(detections=(*make_event().detections, Detection("car", 0.9, Box(0, 0, 0.5, 0.5))))
    output = await caption(event, Captioner(FaceFinder(), None, _Says("A car parked on the street.")))
    assert output.caption.en.endswith("KST. A captioning network sees: a car parked on the street.")
    assert "captioning" not in output.caption.ko
    output = await caption(event, Captioner(FaceFinder(), None, _Says("a woman in a car")))
    assert output.caption.en.endswith("KST.")
