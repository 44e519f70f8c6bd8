"""Fields of a Deployment and a ScaledObject, by the cluster's own names; `manifest.py` reads manifests with them.

A Deployment is mostly for the cluster, so its other fields are ignored; every field of a ScaledObject changes how the
workload scales, so an unknown one is refused.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct, field


class _Metadata(Struct):
    name: str
    annotations: dict[str, str] = {}


class _Variable(Struct, rename="camel"):
    name: str
    value: str | None = None
    value_from: Any = None


class _Container(Struct):
    command: list[str] = []
    args: list[str] = []
    env: list[_Variable] = []


class _PodSpec(Struct, rename="camel"):
    containers: list[_Container]
    termination_grace_period_seconds: float = 30.0


class _Pod(Struct):
    spec: _PodSpec


class _DeploymentSpec(Struct):
    template: _Pod


class Deployment(Struct):
    """Names a workload, and what its container runs."""

    metadata: _Metadata
    spec: _DeploymentSpec


class _Strict(Struct, rename="camel", forbid_unknown_fields=True):
    pass


class _Target(_Strict):
    name: str
    kind: str = "Deployment"
    api_version: str = "apps/v1"


class RabbitMetadata(_Strict):
    """The metadata of a trigger of type rabbitmq; all values are text, as in KEDA."""

    queue_name: str
    protocol: str = "auto"
    mode: str = ""
    value: str = ""
    activation_value: str = "0"
    exclude_unacknowledged: str = "false"
    # How KEDA connects to RabbitMQ: unused here.
    host: str = ""
    host_from_env: str = ""
    vhost_name: str = ""
    unsafe_ssl: str = ""
    timeout: str = ""


class TriggerSpec(_Strict):
    """One trigger, its metadata not yet read."""

    type: str
    metadata: dict[str, str]
    name: str = ""
    metric_type: str = "AverageValue"
    use_cached_metrics: bool = False
    authentication_ref: dict[str, str] = {}


class _Policy(_Strict):
    type: Literal["Pods", "Percent"]
    value: int
    period_seconds: float


class ScaleSpec(_Strict):
    """The HPA's scaling rules in one direction."""

    stabilization_window_seconds: float | None = None
    policies: list[_Policy] | None = None
    select_policy: Literal["Max", "Min", "Disabled"] = "Max"
    tolerance: float | str | None = None


class _Behavior(_Strict):
    scale_up: ScaleSpec = field(default_factory=ScaleSpec)
    scale_down: ScaleSpec = field(default_factory=ScaleSpec)


class _Hpa(_Strict):
    behavior: _Behavior = field(default_factory=_Behavior)
    name: str = ""


class _Advanced(_Strict):
    horizontal_pod_autoscaler_config: _Hpa = field(default_factory=_Hpa)
    restore_to_original_replica_count: bool = False


class ScaledObjectSpec(_Strict):
    """How a workload scales, with KEDA's own defaults."""

    scale_target_ref: _Target
    triggers: list[TriggerSpec]
    polling_interval: int = 30
    cooldown_period: int = 300
    min_replica_count: int = 0
    max_replica_count: int = 100
    advanced: _Advanced = field(default_factory=_Advanced)


class ScaledObject(Struct):
    """Which workload scales how."""

    metadata: _Metadata
    spec: ScaledObjectSpec
