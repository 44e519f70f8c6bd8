"""The component `second-opinion`, as an overlay that names it would get it."""

from __future__ import annotations

from pathlib import Path

from tests.k8s.conftest import with_component


def test_component_lets_the_captioner_reach_one_server_more(tmp_path: Path) -> None:
    made = with_component(tmp_path, "second-opinion")
    objects = {(o["kind"], o["metadata"]["name"]): o for o in made}
    caption = objects["Deployment", "caption"]["spec"]["template"]
    secrets = [each["secretRef"]["name"] for each in caption["spec"]["containers"][0]["envFrom"] if "secretRef" in each]
    assert "bongsu-opinion" in secrets and "bongsu-caption-key" in secrets
    # The other policy still holds for it: this one adds a server.
    assert caption["metadata"]["labels"]["bongsu/pictures"] == "stay"
    policy = objects["NetworkPolicy", "second-opinion"]["spec"]
    (rule,) = policy["egress"]
    assert policy["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": "caption"}}
    assert len(rule["to"]) == 1 and rule["ports"] == [{"protocol": "TCP", "port": 11434}]
