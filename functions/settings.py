"""The settings of every worker, from the environment: broker, logs, metrics, grace period."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from functions.topology import MOTION, burst_queue, read_regions

# msgspec, not pydantic: every function imports this, and importing pydantic would lengthen each cold start.


class SettingsError(ValueError):
    """A variable of the environment is invalid; the message has its name, its value and the fix."""


class Secret:
    """A value that no log, error or `repr` shows; `reveal` returns it. A field of this type is one line of text.

    It is read from its variable, or from the file that `<VARIABLE>_FILE` names: `BONGSU_X_API_SECRET_FILE`.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str = "") -> None:
        """Hold the value; empty for none."""
        self._value = value

    def reveal(self) -> str:
        """The value itself; empty if none was given."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret(…)" if self._value else "Secret()"


class Environment(Struct, frozen=True, rename=lambda name: f"BONGSU_{name.upper()}"):
    """Part of the environment, as a class: its field `broker_url` is read from `BONGSU_BROKER_URL`, and so on.

    A ValueError raised by `__post_init__` must have the variable's name, its value and the fix.
    """


_E = TypeVar("_E", bound=Environment)


class Settings(Environment, frozen=True):
    """What every worker reads."""

    broker_url: str = "sqlite:///state/broker.db"
    """The broker: `amqp://…`, `amqps://…`, `sqlite:///file` or `memory://` (for a single process)."""
    grace_s: float = 25.0
    """How long a worker may take after SIGTERM to finish the events that it holds."""
    buffer_dir: str = ""
    """Folder that keeps events while the broker is unreachable; without it nothing is kept."""
    buffer_mb: float = 256.0
    """The most bytes in that folder; beyond that the oldest events are dropped."""
    buffer_age_s: float = 3600.0
    """Events kept for longer are dropped."""
    motion_replicated: bool = False
    """On a cluster of RabbitMQ: keep bursts on a majority of its nodes, so that detection outlives the loss of one."""
    regions: str = ""
    """Regions with a motion queue and a detector of their own, as in "Seoul,Incheon"; needs RabbitMQ."""
    region: str = ""
    """This worker's region, spelled as a camera's `place.region`."""
    metrics_port: int | None = None
    """Port of `/metrics` and `/healthz`; without it neither is served."""
    log_format: str = "json"
    """How logs are written: json or console."""
    log_level: str = "info"
    """The lowest level that is logged: debug, info, warning or error."""

    @property
    def region_names(self) -> tuple[str, ...]:
        """The listed regions, as their queues spell them.

        Raises:
            SettingsError: one cannot name a queue, or the broker is not RabbitMQ.
        """
        try:
            regions = read_regions(self.regions)
        except ValueError as error:
            raise SettingsError(f"BONGSU_REGIONS: {error}") from None
        scheme = self.broker_url.partition(":")[0]
        if regions and scheme not in ("amqp", "amqps"):
            # Only the scheme is shown: the rest may hold a password.
            raise SettingsError(f"BONGSU_REGIONS needs RabbitMQ (BONGSU_BROKER_URL=amqp://…), and this is {scheme}://…")
        return regions

    @property
    def burst_queue(self) -> str:
        """The queue from which a detector takes its bursts: its region's, or the shared one if it has no region.

        Raises:
            SettingsError: its region is not listed, so its bursts would go to another queue.
        """
        found = burst_queue(self.region, self.region_names)
        if self.region and found == MOTION:
            listed = ", ".join(self.region_names) or "empty"
            raise SettingsError(f"BONGSU_REGION: {self.region!r} is not in BONGSU_REGIONS ({listed}): list it there")
        return found


def load() -> Settings:
    """Read the settings of every worker.

    Raises:
        SettingsError: a value has the wrong type.
    """
    return read(Settings)


def read(kind: type[_E], *, without_secrets: bool = False) -> _E:
    """Read settings from the environment; an empty variable counts as not set.

    Args:
        kind: the settings as a class; a field without a default must be given.
        without_secrets: leave all fields of type `Secret` empty, for a dry run that needs none.

    Raises:
        SettingsError: a value is missing or cannot be used.
    """
    given: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        name = field.encode_name
        if field.type is not Secret:
            value: Any = os.environ.get(name)
        else:
            value = Secret() if without_secrets else _read_secret(name)
        if value or (without_secrets and field.type is Secret):
            given[name] = value
        elif field.required:
            file = f", or {name}_FILE to a file that holds it" if field.type is Secret else ""
            raise SettingsError(f"{name} is not set: set it{file}")
    try:
        return msgspec.convert(given, kind, strict=False, dec_hook=_as)
    except msgspec.ValidationError as error:
        # msgspec's own errors end with `$.NAME`; those of __post_init__ name the variable already.
        name = str(error).rpartition("$.")[2].rstrip("`") if "$." in str(error) else ""
        raise SettingsError(f"{name}: got {given.get(name)!r}: {error}" if name else str(error)) from None


def split(text: str) -> list[str]:
    """The values of a comma-separated list, without empty ones."""
    return [value for part in text.split(",") if (value := part.strip())]


def unknown_variables() -> dict[str, str]:
    """Variables `BONGSU_*` that nothing reads, each with the nearest known name, or "" if none is near.

    Known names are those of all rooms and of the `Environment` classes declared in this process.
    """
    # Imported here, because most environments have no unknown variable and a cold start must be short.
    from functions.variables import KNOWN

    names = [name for name in os.environ if name.startswith("BONGSU_") and name not in KNOWN]
    if not names:
        return {}
    from difflib import get_close_matches

    known = KNOWN | _declared(Environment)
    short = {name.removeprefix("BONGSU_"): name for name in known}  # with the prefix, all names would look alike
    unknown = [name for name in names if name not in known]
    nearest = {name: get_close_matches(name.removeprefix("BONGSU_"), short, n=1, cutoff=0.75) for name in unknown}
    return {name: short[found[0]] if found else "" for name, found in nearest.items()}


def _declared(kind: type[Environment]) -> set[str]:
    """The variables of a class and its subclasses. Annotations are compared as they are written, not resolved: a
    function's module may have been replaced since by another of the same name."""
    names = set(kind.__struct_encode_fields__)
    encoded = dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    for field, annotation in kind.__annotations__.items():
        if field in encoded and (annotation is Secret or str(annotation).rpartition(".")[2] == "Secret"):
            names.add(f"{encoded[field]}_FILE")
    return names.union(*map(_declared, kind.__subclasses__()))


def _as(wanted: type[Any], value: Any) -> Any:
    return value if isinstance(value, wanted) else wanted(value)


def _read_secret(name: str) -> Secret:
    value, file = os.environ.get(name, ""), os.environ.get(f"{name}_FILE", "")
    if value and file:
        raise SettingsError(f"{name} and {name}_FILE are both set: keep one")
    if file:
        try:
            value = Path(file).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not text"
            raise SettingsError(f"{name}_FILE: cannot read {file!r}: {reason}") from None
    value = value.strip()
    if value and not value.isprintable():
        raise SettingsError(f"{name} must be one line")
    return Secret(value)
