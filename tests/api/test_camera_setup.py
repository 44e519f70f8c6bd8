"""The page's requests for cameras, answered by the processes of motion and privacy."""

from __future__ import annotations

import base64
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

from api.settings import Settings
from motion.config import load_cameras

CLIP = Path(__file__).parents[2] / "local" / "demo" / "media" / "street.mp4"
PLACE = {"lat": 37.5, "lon": 127.0, "name": "Market"}
MASK = [[0.0, 0.0], [0.5, 0.0], [0.5, 0.1]]
BEFORE = "# ours\ncameras:\n  - id: street   # a clip\n    url: street.mp4\n    place: {lat: 1, lon: 2, name: A}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "site").mkdir()
    shutil.copy(CLIP, tmp_path / "site" / "street.mp4")
    path = tmp_path / "site" / "cameras.yaml"
    path.write_text(BEFORE)
    return path


@pytest.fixture
def settings(tmp_path: Path, database_url: str, file: Path) -> Settings:
    return Settings(
        database_url=database_url,
        snapshot_url=str(tmp_path / "snapshots"),
        api_keys=str(tmp_path / "keys"),
        cameras_file=str(file),
    )


@pytest.fixture
async def client(serve, settings, keys) -> AsyncIterator[httpx.AsyncClient]:
    async with serve(settings) as (url, _), httpx.AsyncClient(base_url=url, timeout=60) as client:
        client.headers["Authorization"] = f"Bearer {keys['operator']}"
        yield client


async def test_an_operator_sees_a_redacted_picture(client, file):
    answer = await client.post("/api/setup/tune", json={"camera": "new", "url": "street.mp4", "seconds": 8})
    assert len(answer.json()["pictures"]) == len(answer.json()["moments"]) > 0
    answer = await client.post("/api/setup/look", json={"camera": "new", "url": "street.mp4"})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["codec"], found["width"]) == ("h264", 640)
    jpeg = base64.b64decode(found["pictures"][0])
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape[1] == 640
    assert file.read_text() == BEFORE


async def test_a_new_camera_is_written_without_its_password(client, file, monkeypatch):
    for name in ("CAMERA_USER", "CAMERA_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    camera = {"camera": "gate", "url": "rtsp://192.0.2.7/a", "user": "admin", "password": "p@ss", "place": PLACE}
    answer = await client.post("/api/setup/save", json={**camera, "masks": [MASK], "zones": []})
    assert answer.status_code == 200, answer.text
    refused = await client.post("/api/setup/save", json={**camera, "url": "http://192.0.2.7/"})
    assert (refused.status_code, "must start with rtsp://" in refused.text) == (422, True)
    assert file.read_text().startswith(BEFORE)
    assert "p@ss" not in file.read_text() and "p%40ss" not in file.read_text()
    gate = load_cameras(file).cameras[1]
    assert gate.url.get_secret_value() == "rtsp://admin:p%40ss@192.0.2.7/a"
    assert gate.masks == (((0, 0), (0.5, 0), (0.5, 0.1)),)
    listed = (await client.get("/api/setup/cameras")).text
    assert "gate" in listed and "192.0.2.7" not in listed and "admin" not in listed


async def test_only_an_operator_may_open_a_camera(client, keys):
    body = {"camera": "street"}
    for headers, status in (({"Authorization": f"Bearer {keys['viewer']}"}, 403), ({"Authorization": ""}, 401)):
        for path in ("look", "tune", "save"):
            assert (await client.post(f"/api/setup/{path}", json=body, headers=headers)).status_code == status
        assert (await client.get("/api/setup/cameras", headers=headers)).status_code == status
    # As a form of another site would send it.
    assert (
        await client.post("/api/setup/save", content=b"{}", headers={"Content-Type": "text/plain"})
    ).status_code == 415


async def test_on_a_cluster_nothing_is_opened(serve, settings, keys, tmp_path, database_url):
    cluster = Settings(database_url=database_url, snapshot_url=str(tmp_path), api_keys=settings.api_keys)
    async with serve(cluster) as (url, _), httpx.AsyncClient(base_url=url) as client:
        client.headers["Authorization"] = f"Bearer {keys['operator']}"
        assert (await client.get("/api/setup/cameras")).json() == {"file": None, "cameras": []}
        answer = await client.post("/api/setup/look", json={"camera": "x", "url": "a.mp4"})
        assert (answer.status_code, "ConfigMap" in answer.text) == (404, True)
