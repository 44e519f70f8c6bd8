"""`make secrets`: passwords are made once, written everywhere they are used, and an unfilled example is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from functions.signature import new_private_key, public_key_of
from tests.k8s.conftest import ROOT, copy_of_the_manifests, load_script

credentials = load_script(ROOT / "k8s/credentials.py")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copy_of_the_manifests(tmp_path) / "k8s/overlays/local/secrets"


def test_a_second_run_changes_nothing(folder: Path) -> None:
    assert credentials.write_secrets(folder)
    before = {path.name: path.read_text() for path in folder.iterdir()}
    assert credentials.write_secrets(folder) == []
    assert {path.name: path.read_text() for path in folder.iterdir()} == before


def test_a_lost_file_comes_back_with_the_same_password(folder: Path) -> None:
    credentials.write_secrets(folder)
    before = (folder / "keda.env").read_text()
    (folder / "keda.env").unlink()
    assert credentials.write_secrets(folder) == [folder / "keda.env"]
    assert (folder / "keda.env").read_text() == before


def test_a_changed_password_is_changed_everywhere(folder: Path) -> None:
    credentials.write_secrets(folder)
    before = (folder / "definitions.json").read_text()
    passwords = folder / "passwords.env"
    lines = [line for line in passwords.read_text().splitlines() if not line.startswith("broker_map=")]
    passwords.write_text("\n".join([*lines, "broker_map=a-new-password\n"]))
    credentials.write_secrets(folder)
    assert "amqp://map:a-new-password@" in (folder / "broker-map.env").read_text()
    assert (folder / "definitions.json").read_text() != before


def test_what_you_filled_in_is_kept(folder: Path) -> None:
    credentials.write_secrets(folder)
    (folder / "cameras.env").write_text("GATE_1_USER=me\n")
    credentials.write_secrets(folder)
    assert (folder / "cameras.env").read_text() == "GATE_1_USER=me\n"


def test_only_you_can_read_them(folder: Path) -> None:
    for path in [*credentials.write_secrets(folder), folder / "passwords.env"]:
        assert path.stat().st_mode & 0o077 == 0, path.name


def test_a_password_that_would_break_a_url_is_refused_by_name(folder: Path) -> None:
    (folder / "passwords.env").write_text("broker_map=with@sign-and-more\n")
    with pytest.raises(ValueError, match="broker_map: must be 12 or more letters"):
        credentials.write_secrets(folder)


def test_missing_and_unfilled_files_are_a_line_each(folder: Path) -> None:
    assert all("is missing: make secrets ENV=local" in line for line in credentials.problems(folder))
    credentials.write_secrets(folder)
    (problem,) = credentials.problems(folder)
    assert "cameras.env is still the example: put your own value for <your camera's user>" in problem
    (folder / "cameras.env").write_text("# <a comment>\nGATE_1_USER=me\nGATE_1_PASSWORD=secret\n")
    assert credentials.problems(folder) == []


def test_hashes_as_rabbitmq_does() -> None:
    # The example of RabbitMQ's own documentation: password test12, salt 908DC60A.
    assert credentials.hashed("test12", bytes.fromhex("908DC60A")) == "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"


def test_captioner_key_can_be_rotated_in_steps(folder: Path) -> None:
    def keys() -> tuple[str, list[str]]:
        credentials.write_secrets(folder)
        private = (folder / "caption-key.env").read_text().splitlines()[-1].partition("=")[2]
        public = (folder / "caption-public.env").read_text().splitlines()[-1].partition("=")[2]
        return private, public.split(",")

    first, (known,) = keys()
    assert public_key_of(first) == known
    passwords = folder / "passwords.env"
    text = passwords.read_text()
    next_key = new_private_key().removeprefix(credentials.PRIVATE)
    # 1. The readers learn the next key, and nothing is signed with it.
    passwords.write_text(f"{text}caption_key_next={next_key}\n")
    signing, accepted = keys()
    assert (signing, len(accepted)) == (first, 2)
    # 2. The captioner signs with it; what was signed before is accepted.
    passwords.write_text(text.replace("caption_key=", "caption_key_old=") + f"caption_key={next_key}\n")
    signing, accepted = keys()
    assert signing == credentials.PRIVATE + next_key
    assert set(accepted) == {known, public_key_of(signing)}
    # 3. Nothing that the old key signed waits any more.
    passwords.write_text(
        "".join(line for line in passwords.read_text().splitlines(True) if not line.startswith("caption_key_old"))
    )
    assert keys() == (signing, [public_key_of(signing)])
