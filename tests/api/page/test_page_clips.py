"""An operator plays a sealed clip in a real browser on the real API: the private key never leaves the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import av
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from api.server import Site
from api.settings import Settings
from functions.clip import ClipName, seal_clip
from functions.event import utc_now
from functions.sealing import PRIVATE, write_key
from privacy.video import read_back_video
from tests.stores import serving_in_thread

from .conftest import Open
from .test_page_review import sign_in

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect
KEY, SECOND, OTHER = (X25519PrivateKey.generate() for _ in range(3))


def draw_video(path: Path, codec: str, pix_fmt: str) -> bytes:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, pix_fmt
        for _ in range(20):
            container.mux(stream.encode(av.VideoFrame(64, 64, pix_fmt)))
        container.mux(stream.encode())
    return path.read_bytes()


@pytest.fixture
def site_url(tmp_path: Path, database_url: str, keys: dict[Any, str], make_event: Callable[..., Any]) -> Iterator[str]:
    settings = Settings(
        database_url=database_url, snapshot_url=str(tmp_path / "s"), clip_url=str(tmp_path / "clips"),
        api_keys=str(tmp_path / "keys"), public_clip_url=str(tmp_path / "public"),
    )  # fmt: skip

    async def fill(site: Site) -> None:
        seen_at = utc_now().replace(microsecond=0)
        await site.store.sightings.record(make_event(captured_at=seen_at))
        # An MP4 of MPEG-4 part 2, which no browser plays, as its H.265 is on many machines.
        for second, codec in ((5, "libx264"), (2, "mpeg4")):
            name = ClipName("gate-1", seen_at - timedelta(seconds=second), seen_at)
            mp4 = draw_video(tmp_path / f"{codec}.mp4", codec, "yuv420p")
            # One is sealed for two keys, the other for one.
            keys = [SECOND, KEY] if codec == "libx264" else [KEY]
            await site.clips.put(name, seal_clip(name, mp4, *(key.public_key().public_bytes_raw() for key in keys)))
            if codec == "libx264":
                await site.public_clips.put(name, read_back_video(mp4))

    with serving_in_thread(settings, fill) as url:
        yield url


def choose_key(page: Any, name: str, key: X25519PrivateKey) -> None:
    content = write_key(key.private_bytes_raw(), PRIVATE) + "\n"
    page.locator("#clip-key").set_input_files({"name": name, "mimeType": "text/plain", "buffer": content.encode()})


def test_operator_plays_a_clip_with_the_private_key(site_url: str, keys: dict[Any, str], open_page: Open) -> None:
    class Server:
        url = site_url

    page = open_page(Server, "/?incident=1")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(f"{request.url} {request.post_data or ''}"))
    expect(page.locator("#detail-title")).to_be_visible()
    expect(page.locator(".clips")).to_be_hidden()
    sign_in(page, keys["operator"])
    expect(page.locator(".clips")).to_contain_text("2 sealed clips.")
    choose_key(page, "other.key", OTHER)
    page.locator(".clips .buttons button").first.click()
    expect(page.locator(".clips")).to_contain_text("sealed for another key")
    choose_key(page, "private.key", KEY)
    page.locator(".clips .buttons button").first.click()
    video = page.locator(".clips video")
    expect(video).to_be_visible()
    expect(video).to_have_js_property("readyState", 4)
    assert video.evaluate("video => [video.videoWidth, Math.round(video.duration)]") == [64, 2]
    assert page.complaints == []
    # What no browser plays can be saved.
    page.locator(".clips .buttons button").last.click()
    expect(page.locator(".clips")).to_contain_text("Save it, and play it elsewhere")
    assert not any("private" in one or write_key(KEY.private_bytes_raw(), PRIVATE) in one for one in sent)


def test_visitor_plays_the_public_clip(site_url: str, open_page: Open) -> None:
    class Server:
        url = site_url

    page = open_page(Server, "/?incident=1")
    video = page.locator(".videos video")
    expect(video).to_be_visible()
    expect(page.locator(".videos")).to_contain_text("Video, with faces covered")
    video.evaluate("video => video.play()")
    expect(video).to_have_js_property("ended", True)
    expect(page.locator(".clips")).to_be_hidden()
    assert page.complaints == []


def test_viewer_sees_no_clips(site_url: str, keys: dict[Any, str], open_page: Open) -> None:
    class Server:
        url = site_url

    page = open_page(Server, "/?incident=1")
    sign_in(page, keys["viewer"])
    expect(page.locator("#account")).to_have_attribute("aria-label", "viewer-1, viewer")
    expect(page.locator(".clips")).to_be_hidden()
    assert page.complaints == []
