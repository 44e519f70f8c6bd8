"""A language is added by one file: shown by adding German to a copy, from the caption to post, feed and page."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from functions.signature import new_private_key, public_key_of
from tests.rooms import ROOMS

ROOT = Path(__file__).parents[3]

# What a translator would change in a copy of en.ftl; the rest stays English here.
GERMAN = {
    "languageName": "Deutsch",
    "viewMap": "Karte",
    "feed-title": "Bongsu-Warnungen",
    "caption-alert-view": "{ $headline } an der Kamera { $site }: { $things } im Bild.",
    "map-pin-named": "Karte mit einer Nadel bei { $where }: { $at }.",
    "thing-person": "{ $n ->\n    [one] eine Person\n   *[other] { $n } Personen\n}",
}
HAZARD = """
hazard-fire = Feuer
    .event = Brand
    .headline = Brand
    .subject = Flammen{ " " }
    .mention = Feuer
"""

# The captioner, the poster with a Mastodon server, and the API, as the environment sets them.
_WALK = """
import asyncio, json, sys
from pathlib import Path
from api.server import listen, serve
from api.settings import Settings
from functions import Box, Detection, Frame, HazardSeen, Place, new_id, utc_now
from functions.event import decode, encode
from functions.settings import read
from notify.caption import caption, open_captioner
from notify.map import open_map, put_on_map
from notify.post import open_poster, post
from tests.doubles import MastodonDouble
from tests.stores import draw_street

async def walk():
    people = [Detection("person", 0.8, Box(x, 0.4, x + 0.1, 0.9)) for x in (0.1, 0.5)]
    seen = HazardSeen(
        id=new_id(), hazard="fire", camera="gate-1", place=Place(51.5, -0.1, "Old Street"), captured_at=utc_now(),
        detections=tuple(people), labels_searched=("fire", "person"), frame=Frame(draw_street(), utc_now()),
    )
    async with open_captioner() as captioner:
        captioned = decode(encode(await caption(seen, captioner)).body)
    async with MastodonDouble("token") as mastodon:
        import os
        os.environ |= {"BONGSU_MASTODON_URL": mastodon.url, "BONGSU_MASTODON_TOKEN": "token"}
        async with open_map() as map_, open_poster() as poster:
            await put_on_map(captioned, map_)
            await post(captioned, poster)
    listener = listen("127.0.0.1", 0)
    said = {"port": listener.getsockname()[1], "caption": captioned.caption.texts, "posts": mastodon.posts}
    print(json.dumps(said, default=str), flush=True)
    await serve(read(Settings), listener)

asyncio.run(walk())
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "functions", copy / "functions", ignore=shutil.ignore_patterns("__pycache__"))
    for room in {*ROOMS, "tests"} - {"functions"}:
        (copy / room).symlink_to(ROOT / room)
    english = (copy / "functions/catalogue/en.ftl").read_text()
    for key, text in GERMAN.items():
        entry = rf"^{key} = .*\n(?:(?!    \.)[ }}].*\n)*"
        english, changed = re.subn(entry, f"{key} = {text}\n", english, flags=re.MULTILINE)
        assert changed == 1, key
    (copy / "functions/catalogue/de.ftl").write_text(english + HAZARD)
    key = new_private_key()
    environment = os.environ | {
        "PYTHONPATH": str(copy), "BONGSU_LANGUAGES": "en,ko,de", "BONGSU_CHANNELS": "feed,mastodon",
        "BONGSU_POST_LANGUAGES": "de", "BONGSU_DATABASE_URL": f"sqlite+aiosqlite:///{copy}/b.db",
        "BONGSU_SNAPSHOT_URL": str(copy / "snapshots"), "BONGSU_CAPTION_KEY": key,
        "BONGSU_CAPTION_PUBLIC_KEYS": public_key_of(key),
    }  # fmt: skip
    walk = subprocess.Popen([sys.executable, "-c", _WALK], cwd=copy, env=environment, stdout=subprocess.PIPE, text=True)
    assert walk.stdout is not None
    line = next((line for line in walk.stdout if line.startswith('{"port"')), "")
    assert line, f"the walk ended with {walk.wait()}"
    said = json.loads(line)
    yield SimpleNamespace(url=f"http://127.0.0.1:{said['port']}", caption=said["caption"], posts=said["posts"])
    walk.send_signal(signal.SIGTERM)
    walk.wait(20)


CAPTION = re.compile(r"Brand an der Kamera Old Street: 2 Personen im Bild\. \d\d:\d\d UTC\.")


def test_caption_is_written_in_a_new_language(site: Any) -> None:
    assert list(site.caption) == ["en", "ko", "de"] and CAPTION.match(site.caption["de"])
    assert site.caption["en"].startswith("Fire at Old Street: 2 people in view.")


def test_post_is_written_in_a_new_language(site: Any) -> None:
    (post,) = site.posts
    assert CAPTION.match(post["text"]) and post["language"] == "de"
    assert [media["alt"].partition(" Old")[0] for media in post["media"]] == [
        "Brand an der Kamera", "Karte mit einer Nadel bei",
    ]  # fmt: skip


def test_feed_and_alerts_are_in_a_new_language(site: Any) -> None:
    feed = httpx.get(f"{site.url}/feed.json", headers={"Accept-Language": "de-AT,de"}).json()
    assert (feed["title"], feed["items"][0]["title"]) == ("Bongsu-Warnungen", "Feuer · Old Street")
    assert CAPTION.match(feed["items"][0]["content_text"])
    assert "<language>de</language>" in (cap := httpx.get(f"{site.url}/cap/1.xml").text) and CAPTION.search(cap)


def test_page_is_shown_in_a_new_language(site: Any, open_page: Any) -> None:
    page = open_page(site, "/?incident=1", locale="de-DE")
    assert page.locator("html").get_attribute("lang") == "de"
    page.get_by_text("Karte", exact=True).first.wait_for()
    page.get_by_text(CAPTION).first.wait_for()
    assert page.complaints == []
