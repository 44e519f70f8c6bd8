from __future__ import annotations

from pathlib import Path

import pytest

from motion.config import ConfigError, load_cameras
from motion.secrets import SecretsError, add_secrets, read_secrets


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_secrets_are_read_as_a_shell_would(tmp_path: Path) -> None:
    path = write(tmp_path / "cameras.env", "# ours\nA=1\nexport B='x y'\n\nC=\"q'q\"\nD=\n")
    assert read_secrets(path) == {"A": "1", "B": "x y", "C": "q'q", "D": ""}
    assert read_secrets(tmp_path / "none.env") == {}


def test_added_secrets_keep_the_other_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "cameras.env", "# ours\nA=1\nB=2\n")
    add_secrets(path, {"B": "new value", "C": "3'"})
    assert path.read_text().startswith("# ours\nA=1\n")
    assert read_secrets(path) == {"A": "1", "B": "new value", "C": "3'"}
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("text", "said"), [("hunter2\n", "line 1 must be NAME=value"), ("A='hunter2\n", "line 1: a quote is not closed")]
)
def test_a_bad_line_is_named_without_its_value(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SecretsError, match=said) as raised:
        read_secrets(write(tmp_path / "cameras.env", text))
    assert "hunter2" not in str(raised.value)


def test_secrets_that_others_can_read_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "cameras.env", "A=1\n")
    path.chmod(0o644)
    with pytest.raises(SecretsError, match=r"other users can read it \(mode 644\): chmod 600"):
        read_secrets(path)


def test_a_variable_of_the_environment_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cameras.yaml"
    file.write_text("cameras: [{id: a, url: 'rtsp://u:${CAM_PW}@192.0.2.7/', place: {lat: 1, lon: 2, name: A}}]\n")
    monkeypatch.delenv("CAM_PW", raising=False)
    with pytest.raises(ConfigError, match=r"\$\{CAM_PW\} is not set: export CAM_PW before starting, or write it into"):
        load_cameras(file)
    write(tmp_path / "cameras.env", "CAM_PW=kept\n")
    assert load_cameras(file).cameras[0].url.get_secret_value() == "rtsp://u:kept@192.0.2.7/"
    monkeypatch.setenv("CAM_PW", "given")
    assert load_cameras(file).cameras[0].url.get_secret_value() == "rtsp://u:given@192.0.2.7/"
