"""The fleet in the API: what its service wrote is shown to readers, and what operators alone may know to those."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from pathlib import Path

import httpx
import jsonschema
import msgspec

from api.settings import Settings
from tests.api.stream.test_stream import read_stream, take
from web.fleet import (
    AuditEntry,
    DeploymentStatus,
    FleetStatus,
    ModelInUse,
    ModelStatus,
    NodeProgress,
    NodeStatus,
    VersionStatus,
)

NOW = datetime(2026, 11, 22, 5, 3, tzinfo=UTC)


def status(**changed: object) -> FleetStatus:
    """A fleet of one node with a place and one without, and a deployment that failed on the second."""
    whole = FleetStatus(
        at=NOW,
        nodes=[
            NodeStatus(
                name="gate-1", kind="ssh", lat=37.57, lon=126.98, place="Gate", region="Seoul", state="ok", cpu=0.3,
                sampled_at=NOW, cameras=["gate-1"], models=[ModelInUse("hazard", "2", "sha256:2", NOW)],
            ),
            NodeStatus(name="mill-2", kind="here", state="down", alerts=["NodeDown"]),
        ],
        models=[
            ModelStatus(
                name="hazard", task="detect", labels=["fire"], licence="AGPL-3.0-or-later", description="Fires.",
                versions=[
                    VersionStatus(version=v, digest=f"sha256:{v}", bytes=7, is_signed=True, nodes=[], metrics={})
                    for v in ("1", "2")
                ],
            )
        ],
        deployments=[
            DeploymentStatus(
                id="d1", action="deploy", model="hazard", version="2", by="kim", begun_at=NOW, ended_at=NOW,
                state="failed", reason="not everywhere",
                nodes=[
                    NodeProgress(node="gate-1", state="in use", done_bytes=7, total_bytes=7),
                    NodeProgress(node="mill-2", state="lost", error="pi@10.0.0.7:22 cannot be reached"),
                ],
            )
        ],
        audit=[AuditEntry(NOW, "kim", "model_deployed", "gate-1", {"version": "2"})],
    )  # fmt: skip
    return msgspec.structs.replace(whole, **changed)


def write(path: Path, content: FleetStatus) -> None:
    partial = path.with_suffix(".partial")
    partial.write_bytes(msgspec.json.encode(content))
    partial.replace(path)


def settings(tmp_path: Path, database_url: str, **more: str) -> Settings:
    return Settings(
        database_url=database_url, snapshot_url=str(tmp_path / "s"), fleet_status=str(tmp_path / "status.json"), **more
    )


async def test_fleet_is_shown_as_the_document_says(tmp_path, database_url, serve):
    async with (
        serve(settings(tmp_path, database_url)) as (url, _),
        httpx.AsyncClient(base_url=url) as client,
    ):
        assert (await client.get("/api/nodes")).json() == {"type": "FeatureCollection", "features": []}
        write(tmp_path / "status.json", status())
        document = (await client.get("/openapi.json")).json()
        for path, name in (("nodes", "Nodes"), ("models", "Models"), ("deployments", "Deployments")):
            answer = await client.get(f"/api/{path}")
            schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
            jsonschema.validate(answer.json(), schema)
            again = await client.get(f"/api/{path}", headers={"If-None-Match": answer.headers["etag"]})
            assert again.status_code == 304
        gate, mill = (await client.get("/api/nodes")).json()["features"]
        assert gate["geometry"] == {"type": "Point", "coordinates": [126.98, 37.57]} and mill["geometry"] is None
        assert (gate["properties"]["cpu"], mill["properties"]["alerts"]) == (0.3, ["NodeDown"])
        (model,) = (await client.get("/api/models")).json()["models"]
        assert [version["version"] for version in model["versions"]] == ["2", "1"]


async def test_who_and_why_is_for_operators(tmp_path, database_url, serve, keys):
    kept = settings(tmp_path, database_url, api_keys=str(tmp_path / "keys"))
    write(tmp_path / "status.json", status())
    async with serve(kept) as (url, _), httpx.AsyncClient(base_url=url) as client:
        public = await client.get("/api/deployments")
        assert "kim" not in public.text and "10.0.0.7" not in public.text
        viewer, operator = ({"Authorization": f"Bearer {keys[role]}"} for role in ("viewer", "operator"))
        assert "10.0.0.7" not in (await client.get("/api/deployments", headers=viewer)).text
        shown = await client.get("/api/deployments", headers=operator)
        assert (shown.json()["deployments"][0]["by"], shown.headers["cache-control"]) == ("kim", "no-store")
        assert "10.0.0.7" in shown.text
        asked = [await client.get("/api/audit", headers=headers) for headers in ({}, viewer, operator)]
        assert [answer.status_code for answer in asked] == [401, 403, 200]
        assert asked[2].json()["entries"][0]["action"] == "model_deployed"


async def test_stream_tells_changes_of_the_fleet_and_no_measures(tmp_path, database_url, serve):
    path = tmp_path / "status.json"
    write(path, status())
    async with serve(settings(tmp_path, database_url)) as (url, site), httpx.AsyncClient(base_url=url) as client:
        stream = read_stream(client)
        async with contextlib.aclosing(stream):
            sent = asyncio.create_task(take(stream, 4))
            while not site.hub.readers:
                await asyncio.sleep(0.01)
            await asyncio.sleep(1.2)
            gate, mill = status().nodes
            write(path, status(nodes=[msgspec.structs.replace(gate, cpu=0.9), mill]))
            await asyncio.sleep(1.2)
            running = msgspec.structs.replace(status().deployments[0], id="d2", state="running")
            (model,) = status().models
            changed = [msgspec.structs.replace(gate, state="warning", alerts=["NodeHot"])]
            write(path, status(nodes=changed, models=[model, model], deployments=[running, *status().deployments]))
            events = await sent
    by_name = {event.name: event for event in events}
    assert [event.name for event in events] == ["node", "node", "deployment", "models"]
    assert events[0].data == {"type": "Feature", "id": "mill-2", "geometry": None, "properties": None}
    assert events[1].data["properties"]["alerts"] == ["NodeHot"]
    assert by_name["deployment"].data["id"] == "d2" and "by" not in by_name["deployment"].data
    assert all(event.id is None for event in events)


async def test_broken_status_file_leaves_what_was_read(tmp_path, database_url, serve):
    write(tmp_path / "status.json", status())
    async with serve(settings(tmp_path, database_url)) as (url, _), httpx.AsyncClient(base_url=url) as client:
        assert len((await client.get("/api/nodes")).json()["features"]) == 2
        (tmp_path / "status.json").write_text("{")
        assert len((await client.get("/api/nodes")).json()["features"]) == 2
        assert (await client.get("/healthz")).status_code == 200
        assert 'name="bongsu-fleet" content="here"' in (await client.get("/nodes")).text
    kept = Settings(database_url=database_url, snapshot_url=str(tmp_path / "s"))
    async with serve(kept) as (url, _), httpx.AsyncClient(base_url=url) as client:
        assert 'name="bongsu-fleet" content=""' in (await client.get("/")).text
