"""`bongsu cameras import frigate` and `go2rtc`, on files as their users write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from functions.cli import run_command
from motion.cli import cameras
from motion.config import load_cameras

FRIGATE = """\
mqtt:
  host: 192.0.2.2
go2rtc:
  streams:
    front:
      - rtsp://admin:p#ss@w/rd@192.0.2.5:554/stream1#backchannel=0
      - ffmpeg:front#audio=opus
    front_sub: ffmpeg:rtsp://admin:p#ss@w/rd@192.0.2.5:554/stream2#video=copy
    loop: rtsp://localhost:8554/loop
detect:
  width: 1280
  height: 720
cameras:
  front:
    ffmpeg:
      inputs:
        - path: rtsp://127.0.0.1:8554/front?video=copy
          input_args: preset-rtsp-restream
          roles: [record]
        - path: rtsp://127.0.0.1:8554/front_sub
          roles:
            - detect
    motion:
      threshold: 30
      mask:
        - 0.0,0.0,0.35,0.0,0.35,0.08
        - 640,360,1280,360,1280,720,640,720
    zones:
      front_steps:
        coordinates: 0.1,0.7,0.6,0.7,0.7,1,0,1
        inertia: 3
      gate:
        friendly_name: 대문
        coordinates: [0, 0, 640, 0, 640, 720]
    objects:
      track: [person]
  Garage 1:
    detect: {width: 640, height: 480}
    ffmpeg:
      inputs:
        - path: rtsp://{FRIGATE_RTSP_USER}:{FRIGATE_RTSP_PASSWORD}@192.0.2.6/ch1
          roles: [detect, record]
    motion:
      mask: 0,0,320,0,320,240
  named:
    ffmpeg: {inputs: [{path: "rtsp://192.0.2.8/a", roles: [detect]}]}
    motion:
      mask:
        clock: {friendly_name: The clock, enabled: true, coordinates: "0,0,0.5,0,0.5,0.1"}
        tree: {enabled: false, coordinates: "0,0,0.5,0,0.5,0.1"}
  doorbell:
    ffmpeg: {inputs: [{path: "http://192.0.2.9/flv?port=1935&user=admin&password=hunter2", roles: [detect]}]}
  old:
    enabled: false
    ffmpeg: {inputs: [{path: rtsp://192.0.2.7/x, roles: [detect]}]}
  round:
    ffmpeg: {inputs: [{path: "rtsp://127.0.0.1:8554/loop", roles: [detect]}]}
"""
LEFT_OUT = """\
1: mqtt: channels are set in the environment (docs/channels.md)
24: cameras.front.motion.threshold: the gate works in another way: see 'sensitivity' in cameras.example.yaml
31: cameras.front.zones.front_steps.inertia: a zone has a name and a polygon here
35: cameras.front.objects: hazards are looked for, not objects: 'thresholds' in cameras.example.yaml
50: cameras.named.motion.mask.tree: is switched off (enabled: false)
51: cameras.doorbell: http is not read here: give the camera's rtsp:// URL
53: cameras.old: is switched off (enabled: false)
56: cameras.round: go2rtc's stream 'loop' leads back to itself
"""
GO2RTC = """\
api: {listen: ":1984"}
streams:
  yard_main: rtsp://viewer:${YARD_PW}@192.0.2.11/main
  yard_sub:
    - rtsp://viewer:${YARD_PW}@192.0.2.11/sub
  lane:
    - rtspx://192.0.2.12:7441/abc?enableSrtp
    - ffmpeg:lane#audio=opus
  cam.xm: rtsp://192.0.2.13/user=admin_password=tlJwpbo6_channel=1_stream=0.sdp?real_stream
  pet: tapo://secret@192.0.2.14
"""


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CAMERA_USER", "CAMERA_PASSWORD", "CAMERA_PATH_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FRIGATE_RTSP_USER", "viewer")
    monkeypatch.setenv("FRIGATE_RTSP_PASSWORD", "w0rd")
    monkeypatch.setenv("YARD_PW", "y4rd")


def run(kind: str, folder: Path, text: str, *more: str) -> int:
    (folder / "config.yml").write_text(text)
    file = str(folder / "cameras.yaml")
    return run_command(cameras, ["import", kind, str(folder / "config.yml"), "--file", file, "--yes", *more])


def test_frigate_cameras_masks_and_zones_are_taken_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("frigate", tmp_path, FRIGATE, "--place", "37.5,127,City Hall") == 0
    said = capsys.readouterr().out
    front, garage, named = load_cameras(tmp_path / "cameras.yaml").cameras
    assert front.url.get_secret_value() == "rtsp://admin:p%23ss%40w%2Frd@192.0.2.5:554/stream1"
    assert front.detect_url is not None
    assert front.detect_url.get_secret_value() == "rtsp://admin:p%23ss%40w%2Frd@192.0.2.5:554/stream2"
    assert front.masks == (((0, 0), (0.35, 0), (0.35, 0.08)), ((0.5, 0.5), (1, 0.5), (1, 1), (0.5, 1)))
    assert [zone.name.ko for zone in front.zones] == ["front steps", "대문"]
    assert front.zones[1].polygon == ((0, 0), (0.5, 0), (0.5, 1))
    assert garage.id == "garage-1"
    assert garage.url.get_secret_value() == "rtsp://viewer:w0rd@192.0.2.6/ch1"
    assert (garage.detect_url, garage.masks) == (None, (((0, 0), (0.5, 0), (0.5, 0.5)),))
    assert named.masks == (((0, 0), (0.5, 0), (0.5, 0.1)),)
    text = (tmp_path / "cameras.yaml").read_text()
    assert "rtsp://${FRIGATE_RTSP_USER}:${FRIGATE_RTSP_PASSWORD}@192.0.2.6/ch1" in text
    assert not any(secret in text + said for secret in ("p#ss", "p%23ss", "hunter2", "w0rd"))


def test_what_frigate_has_beyond_is_named_by_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("frigate", tmp_path, FRIGATE, "--place", "37.5,127") == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith(str(tmp_path / "config.yml"))]
    assert [line.removeprefix(f"{tmp_path / 'config.yml'}:") for line in said] == LEFT_OUT.splitlines()


def test_an_imported_camera_is_not_added_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("frigate", tmp_path, FRIGATE, "--place", "37.5,127") == 0
    before = (tmp_path / "cameras.yaml").read_text()
    capsys.readouterr()
    assert run("frigate", tmp_path, FRIGATE, "--place", "37.5,127") == 0
    assert "cameras.front: is in the file already, as front" in capsys.readouterr().out
    assert (tmp_path / "cameras.yaml").read_text() == before


def test_go2rtc_streams_are_taken_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("go2rtc", tmp_path, GO2RTC, "--place", "37.5,127") == 0
    said = capsys.readouterr().out
    yard, lane, xm = load_cameras(tmp_path / "cameras.yaml").cameras
    assert yard.id == "yard"
    assert yard.url.get_secret_value() == "rtsp://viewer:y4rd@192.0.2.11/main"
    assert yard.detect_url is not None
    assert yard.detect_url.get_secret_value() == "rtsp://viewer:y4rd@192.0.2.11/sub"
    assert lane.url.get_secret_value() == "rtsps://192.0.2.12:7441/abc?enableSrtp"
    assert "password=tlJwpbo6_channel=1" in xm.url.get_secret_value()
    assert "tlJwpbo6" not in (tmp_path / "cameras.yaml").read_text() + said
    assert ":1: api: has no counterpart here" in said
    assert ":10: streams.pet: tapo is not read here: give the camera's rtsp:// URL" in said


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("frigate", "streams: {a: rtsp://192.0.2.1/}\n", "has no 'cameras:': give Frigate's config.yml"),
        ("go2rtc", "cameras: {}\n", "has no 'streams:': give go2rtc's configuration"),
        ("frigate", "cameras:\n  a: [\n", "is not YAML in line 3"),
        ("frigate", "- a\n", "must be a mapping"),
        ("go2rtc", "streams: {a: 'rtsp://192.0.2.1/'}\n", "a place must be latitude, longitude"),
    ],
)
def test_an_unusable_file_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, text: str, said: str
) -> None:
    assert run(kind, tmp_path, text, "--place", "nowhere") == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "cameras.yaml").exists()


def test_pixels_without_a_size_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = FRIGATE.replace("detect:\n  width: 1280\n  height: 720\n", "")
    assert run("frigate", tmp_path, text, "--place", "37.5,127") == 0
    assert "mask: is in pixels: give detect.width and detect.height, in which they count" in capsys.readouterr().out
    assert len(load_cameras(tmp_path / "cameras.yaml").cameras[0].masks) == 1


def test_a_variable_that_is_not_set_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FRIGATE_RTSP_PASSWORD")
    assert run("frigate", tmp_path, FRIGATE, "--place", "37.5,127") == 1
    assert "${FRIGATE_RTSP_PASSWORD} is not set: export FRIGATE_RTSP_PASSWORD" in capsys.readouterr().err
