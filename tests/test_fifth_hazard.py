"""A hazard is added in two files of code (and its weights): shown by adding one to a copy of the repository."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.rooms import ROOMS

ROOT = Path(__file__).parents[1]

OTHERS = ("keda", "k8s", "docker", "docs", "tools")

# What a hazard goes through once the detector has seen it: the captioner, the map, API, feeds and CAP.
_WALK = """
import asyncio, json, sys
import httpx
from api.server import create_app, open_site
from api.settings import Settings
from detect.rules import RULES
from functions import Box, Detection, HazardSeen, Place, new_id, utc_now
from functions.event import decode, encode
from local.manifest import read_workloads
from notify.caption import caption, open_captioner
from notify.map import Map, put_on_map
from notify.channels.feed import Feed
from notify.post import PosterResources, post
from pathlib import Path

async def walk():
    seen = HazardSeen(
        id=new_id(), hazard="flood", camera="gate-1", place=Place(37.5585, 126.9370, "Sinchon Market"),
        captured_at=utc_now(), detections=(Detection("flood", 0.8, Box(0.1, 0.4, 0.6, 0.9)),),
    )
    seen = decode(encode(seen).body)
    async with open_captioner() as captioner:
        captioned = await caption(seen, captioner)
    settings = Settings(database_url=f"sqlite+aiosqlite:///{sys.argv[1]}/b.db", snapshot_url=f"{sys.argv[1]}/s")
    async with open_site(settings) as site:
        for event in (seen, captioned):
            await put_on_map(event, Map(site.store, site.snapshots))
        await post(captioned, PosterResources(site.store, site.snapshots, (Feed(),), 0))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(site)), base_url="http://t") as client:
            async def get(path):
                return (await client.get(path)).raise_for_status().text
            results = {
                "type": encode(seen).routing_key, "caption": captioned.caption.en, "ko": captioned.caption.ko,
                "incidents": json.loads(await get("/api/incidents?hazard=flood"))["features"],
                "feed": await get("/feed.json"), "atom": await get("/feed.atom"), "cap": await get("/cap/1.xml"),
                "hazards": json.loads(await get("/hazards.json"))["hazards"],
                "openapi": json.loads(await get("/openapi.json"))["components"]["schemas"]["HazardKind"],
                "queues": {w.name: w.rule.queues for w in read_workloads(Path("keda"))},
                "rule": RULES["flood"].threshold,
            }
    print(json.dumps(results))

asyncio.run(walk())
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    copy = tmp_path_factory.mktemp("copy")
    for folder in (*ROOMS, *OTHERS):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "media", "*.png"))
    add_flood(copy)
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    generate = [sys.executable, "tools/generate.py"]
    made = subprocess.run(generate, cwd=copy, env=environment, check=True, capture_output=True, text=True)
    state = copy / "state"
    state.mkdir()
    walk = [sys.executable, "-c", _WALK, str(state)]
    walked = subprocess.run(walk, cwd=copy, env=environment, check=False, capture_output=True, text=True)
    assert walked.returncode == 0, walked.stderr
    again = subprocess.run(
        [*generate, "--check"], cwd=copy, env=environment, check=False, capture_output=True, text=True
    )
    assert again.returncode == 0, again.stdout
    return {
        **json.loads(walked.stdout.splitlines()[-1]),
        "generated": made.stdout,
        "topology": (copy / "k8s/base/topology.yaml").read_text(),
        "docs": (copy / "docs/api.md").read_text(),
        "rights": (copy / "k8s/overlays/local/secrets/definitions.json.example").read_text(),
    }


def add_flood(root: Path) -> None:
    """What a developer writes: one name and one entry in `functions/hazards.py`, one rule in `detect/rules.py`."""
    hazards = root / "functions/hazards.py"
    text = re.sub(r"^(Hazard = Literal\[.+)\]", r'\1, "flood"]', hazards.read_text(), flags=re.MULTILINE)
    entry = text[text.index('    "fire": Kind(') : text.index('    "gun": Kind(')]
    entry = entry.replace('"fire"', '"flood"').replace('Words("Fire", "화재")', 'Words("Flood", "침수")')
    entry = entry.replace('plural="fires"', 'plural="floods"').replace('Words("Fire",', 'Words("Flood",')
    hazards.write_text(text.replace('    "gun": Kind(', f'{entry}    "gun": Kind(', 1))
    rules = root / "detect/rules.py"
    rules.write_text(rules.read_text().replace('    "fire": Rule(', '    "flood": Rule(0.5, 0.6),\n    "fire": Rule('))


@pytest.mark.slow
@pytest.mark.parametrize("part", ["caption", "feed", "atom", "cap"])
def test_a_fifth_hazard_is_told_by_its_name(results: dict[str, Any], part: str) -> None:
    assert "Flood" in results[part]


@pytest.mark.slow
def test_a_fifth_hazard_is_found_by_the_api(results: dict[str, Any]) -> None:
    (incident,) = results["incidents"]
    assert incident["properties"]["hazard"] == "flood"
    assert "flood" in results["openapi"]["properties"]["name"]["enum"]


@pytest.mark.slow
def test_the_page_gets_name_and_look_of_a_fifth_hazard(results: dict[str, Any]) -> None:
    (flood,) = [hazard for hazard in results["hazards"] if hazard["name"] == "flood"]
    assert flood["title"] == {"en": "Flood", "ko": "침수"}
    assert flood["look"]["shape"]


@pytest.mark.slow
def test_queues_of_a_fifth_hazard_are_generated(results: dict[str, Any]) -> None:
    assert results["type"] == "flood"
    assert "flood.map" in results["queues"]["map"]
    assert "flood.caption" in results["queues"]["caption"]
    assert "- flood.map\n" in results["topology"]
    assert "- flood.caption\n" in results["topology"]
    assert "`flood`" in results["docs"]
    assert "|flood" in results["rights"]
    assert "flood\\\\.map" in results["rights"]


def test_generated_parts_of_files_are_current() -> None:
    checked = subprocess.run(
        [sys.executable, ROOT / "tools/generate.py", "--check"], check=False, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
