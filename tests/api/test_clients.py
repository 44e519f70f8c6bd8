"""Clients that tools generate from `/openapi.json` are whole, and read what a real server answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api.settings import Settings
from tests.stores import serving_in_thread

from .test_openapi import fill

# The versions that were tried together; openapi-typescript works with TypeScript 5.
TYPESCRIPT = ("openapi-typescript@7.13.0", "typescript@5.9.3")


@pytest.fixture
def server(tmp_path, make_event) -> Iterator[str]:
    """A real server in a thread of its own, with one of each thing."""
    kept = Settings(database_url=f"sqlite+aiosqlite:///{tmp_path}/a.db", snapshot_url=str(tmp_path / "s"))
    with serving_in_thread(kept, lambda site: fill(site, make_event)) as url:
        yield url


ASK = """
import asyncio, json, sys
from client import Client
from client.api.cameras import list_cameras, show_pipeline
from client.api.feeds import show_feed
from client.api.incidents import list_incidents, show_incident
from client.api.process import show_hazards, show_health
from client.api.session import show_session
from client.models import Error

at = Client(base_url=sys.argv[1])
by = {"client": at}
said = [
    list_incidents.sync(**by, hazard=["fire"], bbox=[126.0, 37.0, 128.0, 38.0], status=["open", "closed"], limit=5),
    show_incident.sync(1, **by), list_cameras.sync(**by), show_pipeline.sync(**by), show_feed.sync(**by),
    show_hazards.sync(**by), show_health.sync(**by), show_session.sync(**by),
]
assert not any(one is None or isinstance(one, Error) for one in said), said
assert said[0].features[0].properties.review.verdict == "acknowledged" and said[0].features[0].geometry.coordinates
assert said[0].features[0].properties.first_seen.tzinfo is not None
assert said[4].items[0].field_bongsu.incident == 1
refused = show_incident.sync(99, **by)
assert refused.detail == "there is no incident 99"
"""


def docs_config() -> str:
    """The generator's configuration, as the documentation gives it."""
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")
    return page.partition("```yaml\n")[2].partition("```")[0]


def test_python_client_is_whole_and_reads_every_answer(server, tmp_path):
    # It knows JSON, text and bytes; the names of other kinds are given to it, as docs/api.md says.
    overrides = docs_config()
    (tmp_path / "config.yaml").write_text(f"post_hooks: []\n{overrides}")
    generator = Path(sys.executable).with_name("openapi-python-client")
    command = [
        str(generator), "generate", "--url", f"{server}/openapi.json", "--meta", "none",
        "--output-path", str(tmp_path / "client"), "--config", str(tmp_path / "config.yaml"), "--fail-on-warning",
    ]  # fmt: skip
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100)
    # It leaves out what it does not understand and warns: then the client lacks a part of the API.
    assert ran.returncode == 0 and "arning" not in ran.stdout, ran.stdout + ran.stderr
    models = {path.stem for path in (tmp_path / "client" / "models").iterdir()}
    assert {"pipeline", "feed", "feed_item", "incidents", "review_body", "key_body", "error"} <= models
    path = os.pathsep.join([str(tmp_path), *sys.path])
    asked = subprocess.run(
        [sys.executable, "-c", ASK, server],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert asked.returncode == 0, asked.stderr


USE = """
import type { components, paths } from "./client";

type Answer = paths["/api/incidents"]["get"]["responses"]["200"]["content"]["application/geo+json"];
const incidents: Answer = %(incidents)s;
const cameras: components["schemas"]["Cameras"] = %(cameras)s;
const feed: components["schemas"]["Feed"] = %(feed)s;
const pipeline: components["schemas"]["Pipeline"] = %(pipeline)s;
const hazards: components["schemas"]["Hazards"] = %(hazards)s;
const first: string = feed.items[0]._bongsu.caption.ko;
const names: string[] = hazards.hazards.map((hazard) => hazard.title.en);
const lon: number = incidents.features[0].geometry.coordinates[0];
export const used = [cameras, pipeline, first, names, lon];
// @ts-expect-error there is no such status
export const wrong: Answer["features"][0]["properties"]["status"] = "gone";
"""


def test_typescript_client_has_the_types_of_every_answer(server, tmp_path):
    if not shutil.which("npm"):
        pytest.skip("npm not installed: apt-get install npm")
    kept = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "bongsu-tests" / "typescript"
    kept.mkdir(parents=True, exist_ok=True)
    if not (kept / "node_modules" / ".bin" / "tsc").exists():
        command = ["npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", str(kept), *TYPESCRIPT]
        installed = subprocess.run(command, capture_output=True, text=True, timeout=110)
        if installed.returncode:
            pytest.skip(f"npm cannot install {TYPESCRIPT[0]}: {installed.stderr[-200:]}")
    tools = kept / "node_modules" / ".bin"
    (tmp_path / "openapi.json").write_bytes(httpx.get(f"{server}/openapi.json").content)
    command = [str(tools / "openapi-typescript"), str(tmp_path / "openapi.json"), "-o", str(tmp_path / "client.ts")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    paths = {"incidents": "/api/incidents", "cameras": "/api/cameras", "feed": "/feed.json"}
    paths |= {"pipeline": "/api/pipeline", "hazards": "/hazards.json"}
    answers = {name: json.dumps(httpx.get(f"{server}{path}").json()) for name, path in paths.items()}
    (tmp_path / "use.ts").write_text(USE % answers)
    checked = subprocess.run(
        [str(tools / "tsc"), "--strict", "--noEmit", "--skipLibCheck", "--module", "nodenext", "use.ts"],
        cwd=tmp_path, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout
