"""What the API says of itself is true, and nothing that can be asked breaks it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import checks

from api.settings import Settings
from functions import Caption
from notify.map import Map, put_on_map
from tests.stores import serving_in_thread
from web.keys import new_key


async def fill(site, make_event, name: str = "gate-1") -> None:
    """One of each thing."""
    where = Map(site.store, site.snapshots)
    await put_on_map(make_event("camera", camera=name), where)
    await put_on_map(make_event("captioned", hazard="fire", camera=name), where)
    await site.store.posts.claim(1, "feed", "event-1")
    await site.store.posts.confirm(1, "feed", text=Caption("Fire.", "화재."), snapshot_key="ab/cd.jpg", reference="1")
    await site.store.reviews.give(1, "acknowledged", by="kim", note="seen")


def resolve(document: dict, name: str) -> dict:
    return {"$ref": f"#/components/schemas/{name}", "components": document["components"]}


async def test_document_is_whole_and_its_examples_are_true(tmp_path, database_url, make_event, serve):
    kept = Settings(database_url=database_url, snapshot_url=str(tmp_path / "s"))
    async with serve(kept) as (url, site), httpx.AsyncClient(base_url=url) as client:
        await fill(site, make_event)
        document = (await client.get("/openapi.json")).json()
        examples = {
            name: schema["examples"][0]
            for name, schema in document["components"]["schemas"].items()
            if "examples" in schema
        }
        assert {"Error", "Incident", "Incidents", "Camera", "Session", "Pipeline", "Health"} <= set(examples)
        for name, example in examples.items():
            jsonschema.validate(example, resolve(document, name))
        for path, item in document["paths"].items():
            for method, operation in item.items():
                assert operation["summary"] and operation["responses"], (method, path)
                assert all("description" in one for one in operation.get("parameters", [])) or "stream" in path
        for path, name in (
            *(("/api/incidents", "Incidents"), ("/api/incidents/1", "Incident"), ("/api/cameras", "Cameras")),
            *(
                ("/api/session", "Session"),
                ("/api/pipeline", "Pipeline"),
                ("/feed.json", "Feed"),
                ("/hazards.json", "Hazards"),
                ("/healthz", "Health"),
            ),
        ):
            jsonschema.validate((await client.get(path)).json(), resolve(document, name))
            (content,) = document["paths"][path.replace("/1", "/{incident_id}")]["get"]["responses"]["200"][
                "content"
            ].values()
            assert content["schema"] == {"$ref": f"#/components/schemas/{name}"}, path
        assert {"key", "basic", "session"} == set(document["components"]["securitySchemes"])


@pytest.fixture(scope="module")
def server(tmp_path_factory, request) -> Iterator[tuple[str, str]]:
    """A real server in a thread of its own, with an operator's key."""
    folder: Path = tmp_path_factory.mktemp("openapi")
    text, key = new_key("operator-1", "operator")
    (folder / "keys").write_text(f"{key.name} {key.role} {key.digest}\n")
    kept = Settings(
        database_url=f"sqlite+aiosqlite:///{folder}/a.db", snapshot_url=str(folder / "s"),
        api_keys=str(folder / "keys"), rate_limit=0,
    )  # fmt: skip
    with serving_in_thread(kept) as url:
        yield url, text


CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]


def test_nothing_that_can_be_asked_breaks_it(server):
    url, key = server
    # A stream does not end.
    document = schemathesis.openapi.from_url(f"{url}/openapi.json").exclude(path="/api/incidents/stream")
    asked: list[str] = []
    for found in document.get_all_operations():
        operation = found.ok()

        @settings(max_examples=12, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def ask(case: schemathesis.Case) -> None:
            asked.append(case.path)
            headers = {"Authorization": f"Bearer {key}"} if "review" in case.path else {}
            case.validate_response(case.call(headers=headers), checks=CHECKS)

        ask()
    assert len(asked) > 100 and len(set(asked)) > 10


async def test_hostile_questions_are_a_clear_refusal_or_inert(tmp_path, database_url, make_event, serve):
    name = '"><script>alert(1)</script>'
    kept = Settings(database_url=database_url, snapshot_url=str(tmp_path / "s"), rate_limit=0)
    async with serve(kept) as (url, site), httpx.AsyncClient(base_url=url) as client:
        await fill(site, make_event, name)
        for query in (
            f"bbox={'9' * 5000},0,0,0", "bbox=-1e308,-1e308,1e308,1e308", "bbox=inf,0,0,0", f"cursor={'A' * 5000}",
            "cursor=MTc2MzU2MTM5MDAwMDAwMC4x%00", "cursor=../../etc", f"limit={'1' * 5000}",
            "since=9999-99-99T00:00:00Z",
            "hazard=fire%27%20OR%201=1--", "status=open%00", f"hazard={'fire,' * 2000}x",
        ):  # fmt: skip
            refused = await client.get(f"/api/incidents?{query}")
            assert refused.status_code == 422 and len(refused.content) < 400, query
        for query in ("camera=%27%3B%20DROP%20TABLE%20incidents%3B--", "camera=%00", "bbox=-180,-90,180,90", "x=%ff"):
            assert (await client.get(f"/api/incidents?{query}")).status_code == 200, query
        for path in ("/api/incidents", "/api/cameras", "/feed.json"):
            answer = await client.get(path)
            assert "html" not in answer.headers["content-type"]
            assert answer.headers["x-content-type-options"] == "nosniff"
        for path in ("/api/cameras/..%2f..%2fetc%2fpasswd/snapshot", "/api/cameras/%00/snapshot", "/cap/..%2f1.xml"):
            assert (await client.get(path)).status_code in (404, 422), path
        key, cookie = {"Authorization": b"Bearer \xff" + b"x" * 9000}, {"Cookie": "bongsu_session=" + "%00" * 999}
        assert (await client.get("/api/incidents", headers=key)).status_code == 401
        assert (await client.get("/api/incidents", headers=cookie)).status_code == 200
        assert (await client.get("/healthz")).status_code == 200
