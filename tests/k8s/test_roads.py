"""The component `roads`, as docs/city.md says to add it to an overlay."""

from __future__ import annotations

from pathlib import Path

from functions.variables import KNOWN
from tests.k8s.conftest import with_component


def test_component_gives_the_api_the_overlays_roads(tmp_path: Path) -> None:
    roads = {"roads.geojson": '{"type": "FeatureCollection", "features": []}'}
    made = with_component(tmp_path, "roads", files=roads)
    objects = {(o["kind"], o["metadata"]["name"]): o for o in made}
    assert "FeatureCollection" in objects["ConfigMap", "bongsu-roads"]["data"]["roads.geojson"]
    pod = objects["Deployment", "api"]["spec"]["template"]["spec"]
    (named,) = [e["value"] for e in pod["containers"][0]["env"] if e["name"] == "BONGSU_ROADS"]
    mounted = {m["name"]: m["mountPath"] for m in pod["containers"][0]["volumeMounts"]}
    assert named == f"{mounted['roads']}/roads.geojson" and "BONGSU_ROADS" in KNOWN
    assert {"name": "roads", "configMap": {"name": "bongsu-roads"}} in pod["volumes"]
