"""The subscribers of docs/api.md do what the page says, and its table names every endpoint."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import httpx
import pytest

from api.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs/api.md").read_text("utf-8")


def program(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def command(language: str, file: Path) -> list[str]:
    return {
        "python": [sys.executable, str(file)],
        "javascript": ["node", str(file)],
        "sh": ["sh", str(file)],
    }[language]


@pytest.mark.parametrize("language", ["python", "javascript", "sh"])
async def test_subscriber_resumes_after_a_server_restart(language, tmp_path, database_url, make_event, serve):
    tool = {"javascript": "node", "sh": "curl"}.get(language, sys.executable)
    if shutil.which(tool) is None:
        pytest.skip(f"no {tool} here")
    file = tmp_path / f"subscriber.{'mjs' if language == 'javascript' else language}"
    file.write_text(program(language))
    kept = Settings(database_url=database_url, snapshot_url=str(tmp_path / "s"), http_port=0)
    reading = None
    try:
        async with serve(kept) as (url, site):
            port = int(url.rpartition(":")[2])
            reading = await asyncio.create_subprocess_exec(
                *command(language, file), env=os.environ | {"BONGSU": url}, stdout=asyncio.subprocess.PIPE,
                start_new_session=True, cwd=tmp_path,
            )  # fmt: skip
            assert reading.stdout is not None
            await site.store.sightings.record(make_event("fire", id_="a"))
            async with asyncio.timeout(40):
                assert await reading.stdout.readline() == b"fire 1\n"
        async with serve(kept, port) as (_, site):
            await site.store.sightings.record(make_event("gun", id_="b"))
            async with asyncio.timeout(40):
                # Neither missed nor sent twice.
                assert await reading.stdout.readline() == b"gun 2\n"
    finally:
        if reading is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(reading.pid, signal.SIGKILL)
            await reading.wait()


async def test_every_endpoint_is_in_the_table(tmp_path, database_url, serve):
    kept = Settings(database_url=database_url, snapshot_url=str(tmp_path / "s"))
    async with serve(kept) as (url, _), httpx.AsyncClient(base_url=url) as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
    table = PAGE.partition("## Endpoints")[2].partition("## Lists")[0]
    for path in paths:
        short = re.sub(r"\{\w+\}", "{id}", path)
        assert short in table or (short.endswith("/location") and "…/location" in table), path


def test_every_setting_of_the_page_is_one():
    for name in set(re.findall(r"BONGSU_[A-Z_]+", PAGE)):
        assert name.removeprefix("BONGSU_").lower() in Settings.__struct_fields__, name
