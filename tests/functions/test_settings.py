"""Settings from the environment: what is missing, secret or misspelt is one clear line."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest

from functions.settings import Environment, Secret, SettingsError, read, unknown_variables
from functions.variables import KNOWN
from tests.rooms import ROOMS

ROOT = Path(__file__).resolve().parents[2]


class OwnSettings(Environment, frozen=True):
    """Of a function somebody wrote."""

    own_number: int
    own_token: Secret = Secret("default")


def test_missing_and_wrong_values_name_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"^BONGSU_OWN_NUMBER is not set: set it$"):
        read(OwnSettings)
    monkeypatch.setenv("BONGSU_OWN_NUMBER", "many")
    with pytest.raises(SettingsError, match=r"^BONGSU_OWN_NUMBER: got 'many'"):
        read(OwnSettings)


def test_secret_comes_from_variable_or_file_and_is_never_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BONGSU_OWN_NUMBER", "1")
    assert read(OwnSettings).own_token.reveal() == "default"
    (tmp_path / "token").write_text("hidden\n")
    monkeypatch.setenv("BONGSU_OWN_TOKEN_FILE", str(tmp_path / "token"))
    settings = read(OwnSettings)
    assert settings.own_token.reveal() == "hidden" and "hidden" not in f"{settings} {settings.own_token}"
    assert not read(OwnSettings, without_secrets=True).own_token
    (tmp_path / "token").write_text("two\nlines")
    with pytest.raises(SettingsError, match="BONGSU_OWN_TOKEN must be one line") as error:
        read(OwnSettings)
    assert "two" not in str(error.value)


def test_unknown_variable_has_its_nearest_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BONGSU_BROKER_ULR", "BONGSU_OWN_NUMBER", "BONGSU_OWN_TOKEN_FILE", "BONGSU_SIREN"):
        monkeypatch.setenv(name, "x")
    found = unknown_variables()
    assert found["BONGSU_BROKER_ULR"] == "BONGSU_BROKER_URL" and found["BONGSU_SIREN"] == ""
    assert not {"BONGSU_OWN_NUMBER", "BONGSU_OWN_TOKEN_FILE"} & found.keys()


def test_a_class_whose_module_was_replaced_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "from functions.settings import Environment, Secret\n\nclass {}(Environment):\n    {}: Secret\n"
    kept = []
    for kind, field in (("First", "first_token"), ("Second", "second_token")):
        module = types.ModuleType("replaced")
        monkeypatch.setitem(sys.modules, "replaced", module)
        exec("from __future__ import annotations\n" + code.format(kind, field), module.__dict__)
        kept.append(module.__dict__.pop(kind))
        del module.__dict__["Secret"]
    monkeypatch.setenv("BONGSU_FIRST_TOKEN_FILE", "x")
    monkeypatch.setenv("BONGSU_SIREN", "x")
    assert unknown_variables().keys() == {"BONGSU_SIREN"} and len(kept) == 2


def test_every_variable_that_a_room_reads_itself_is_known() -> None:
    source = "".join(path.read_text() for room in ROOMS for path in (ROOT / room).rglob("*.py"))
    read_directly = set(re.findall(r'environ(?:\.get)?[\[(]"(BONGSU_[A-Z_]+)"', source))
    assert read_directly and read_directly <= KNOWN
