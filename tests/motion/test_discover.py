"""`bongsu cameras discover` against a device that keeps the rules of ONVIF, over multicast on the loopback."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from functions.cli import run_command
from motion.cli import cameras
from motion.config import load_cameras
from tests.motion.onvif_device import OnvifDevice, Profile

MAIN = Profile("p1", "H264", 1920, 1080, 25, "rtsp://127.0.0.1:8554/main?channel=1&x=2")
SUB = Profile("p2", "H264", 640, 360, 10, "rtsp://0.0.0.0:8554/sub")
JPEG = Profile("p3", "JPEG", 3840, 2160, 5, "rtsp://127.0.0.1:8554/jpeg")
DEAD = Profile("p4", "H264", 320, 180, 5, "")
PLACE = "37.5663, 126.9779, East gate"


@pytest.fixture(autouse=True)
def no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BONGSU_CAMERA_USER", "BONGSU_CAMERA_PASSWORD", "CAMERA_USER", "CAMERA_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


def discover(device: OnvifDevice, file: Path, *more: str, password: str = "s3cret", timeout_s: float = 0.7) -> int:
    (file.parent / "password").write_text(password + "\n")
    arguments = ["--file", str(file), "--interface", "lo", "--timeout", str(timeout_s), "--scope", device.location]
    login = ["--user", "admin", "--password-file", str(file.parent / "password")]
    return run_command(cameras, ["discover", *arguments, *login, "--yes", *more])


def test_a_found_camera_is_written_without_password(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cameras.yaml"
    file.write_text(
        "# ours\ncameras:\n- id: gate   # the first\n  url: a.mp4\n  place: {lat: 1, lon: 2, name: A}\n# end\n"
    )
    with OnvifDevice([SUB, MAIN, JPEG, DEAD], answers=2, password="s3@cret:") as device:
        assert discover(device, file, "--place", PLACE, password="s3@cret:") == 0
    said = capsys.readouterr()
    assert "1 ONVIF device\n" in said.out
    assert "  main  H264 1920x1080 25 fps\n  sub   H264 640x360 10 fps\n  new: gate-2\n" in said.out
    text = file.read_text()
    assert text.startswith(
        "# ours\ncameras:\n- id: gate   # the first\n  url: a.mp4\n  place: {lat: 1, lon: 2, name: A}\n"
    )
    assert text.endswith("# end\n")
    found = yaml.safe_load(text)["cameras"][1]
    assert found["url"] == "rtsp://${CAMERA_USER}:${CAMERA_PASSWORD}@127.0.0.1:8554/main?channel=1&x=2"
    assert found["detect_url"] == "rtsp://${CAMERA_USER}:${CAMERA_PASSWORD}@127.0.0.1:8554/sub"
    assert "cret" not in text + said.out + said.err
    secrets = tmp_path / "cameras.env"
    assert secrets.stat().st_mode & 0o777 == 0o600
    camera = load_cameras(file).cameras[1]
    assert camera.url.get_secret_value() == "rtsp://admin:s3%40cret%3A@127.0.0.1:8554/main?channel=1&x=2"
    assert camera.place.name == "East gate"


def test_a_camera_found_again_is_not_added(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cameras.yaml"
    with OnvifDevice([MAIN]) as device:
        assert discover(device, file, "--place", PLACE) == 0
        before = file.read_text()
        capsys.readouterr()
        assert discover(device, file, "--place", PLACE) == 0
    assert "is in the file already, as gate\nnothing to add\n" in capsys.readouterr().out
    assert file.read_text() == before


def test_a_camera_without_place_is_written_as_comment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cameras.yaml"
    with OnvifDevice([MAIN], path="/odd/path") as device:
        assert discover(device, file) == 1
    said = capsys.readouterr()
    assert "written as comments, until they have a place: gate" in said.out
    assert "before motion can read the file" in said.err
    text = file.read_text()
    assert "  # - id: gate\n" in text
    done = "\n".join(
        line.replace("  # ", "  ", 1) if line.startswith("  # -") or line.startswith("  #   ") else line
        for line in text.split("\n")
    )
    file.write_text(done.replace("LATITUDE", "37.5").replace("LONGITUDE", "127"))
    assert [camera.id for camera in load_cameras(file).cameras] == ["gate"]


def test_channels_of_a_recorder_are_cameras(tmp_path: Path) -> None:
    file = tmp_path / "cameras.yaml"
    second = Profile("p5", "H264", 1280, 720, 15, "rtsp://127.0.0.1:8554/two", source="source_2")
    with OnvifDevice([MAIN, SUB, second], name="Recorder%20A") as device:
        assert discover(device, file, "--place", PLACE) == 0
    found = load_cameras(file).cameras
    assert [camera.id for camera in found] == ["recorder-a-1", "recorder-a-2"]
    assert [camera.detect_url is None for camera in found] == [False, True]


@pytest.mark.parametrize("skew_s", [-40_000_000, 3600])
def test_wrong_clock_of_a_camera_does_not_matter(tmp_path: Path, skew_s: float) -> None:
    with OnvifDevice([MAIN], clock_skew_s=skew_s) as device:
        assert discover(device, tmp_path / "cameras.yaml", "--place", PLACE) == 0
    assert device.refused == []


def test_wrong_password_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with OnvifDevice([MAIN]) as device:
        assert discover(device, tmp_path / "cameras.yaml", password="wr0ng") == 1
    said = capsys.readouterr()
    assert "  FAILED: user name or password refused\nnothing to add\n" in said.out
    assert said.err == ""
    assert device.refused
    assert "wr0ng" not in said.out
    assert not (tmp_path / "cameras.yaml").exists()
    assert not (tmp_path / "cameras.env").exists()


def test_a_device_that_hangs_does_not_hold_up_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cameras.yaml"
    with OnvifDevice([MAIN], name="Mute", hangs_at="GetProfiles") as mute, OnvifDevice([SUB], location=mute.location):
        assert discover(mute, file, "--place", PLACE, timeout_s=1.5) == 0
    said = capsys.readouterr().out
    assert "2 ONVIF devices" in said
    assert "FAILED: no answer for 1.5 s" in said
    assert [camera.id for camera in load_cameras(file).cameras] == ["gate"]


def test_nothing_found_says_what_to_look_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["discover", "--interface", "lo", "--timeout", "0.5", "--scope", "location/none", "--yes"]
    assert run_command(cameras, [*arguments, "--file", str(tmp_path / "cameras.yaml")]) == 1
    assert "no ONVIF device answered on lo within 0.5 s: is ONVIF switched on" in capsys.readouterr().out


def test_unknown_interface_names_those_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(cameras, ["discover", "--interface", "wlan77", "--yes"]) == 2
    assert "--interface wlan77: no such interface with an IPv4 address: known are" in capsys.readouterr().err
