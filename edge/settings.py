"""The settings of a fleet, from the environment: its files and its registry. The commands read them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge.errors import FleetError

_SECRET_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user of the registry; the password is never shown."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials(user={self.user!r})"


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """The locations of a fleet's files and models.

    Attributes:
        folder: nodes.yaml, keys, the audit log; `BONGSU_FLEET`, default `state/fleet`.
        registry: `https://host[:port][/prefix]`, or a folder in OCI layout; `BONGSU_MODEL_REGISTRY`, default
            `models` in `folder`.
        registry_ca: PEM file of the only authority trusted for the registry's certificate;
            `BONGSU_MODEL_REGISTRY_CA`. None: the system's.
        writer: the user for pushing and deleting; `BONGSU_MODEL_REGISTRY_USER` and `…_PASSWORD_FILE` (or `…_PASSWORD`).
        reader: the user on nodes; `BONGSU_MODEL_REGISTRY_READER` and `…_READER_PASSWORD_FILE`. None: `writer`.
    """

    folder: Path
    registry: str
    registry_ca: Path | None = None
    writer: Credentials | None = None
    reader: Credentials | None = None


def read_settings(environ: Mapping[str, str] = os.environ) -> FleetSettings:
    """Read the settings from the environment.

    Raises:
        FleetError: a file that it names cannot be read, or a user has no password.
    """
    folder = Path(environ.get("BONGSU_FLEET") or "state/fleet")
    ca = environ.get("BONGSU_MODEL_REGISTRY_CA")
    if ca and not Path(ca).is_file():
        raise FleetError(f"BONGSU_MODEL_REGISTRY_CA must be a PEM file, and there is none at {ca!r}")
    writer = _credentials(environ, "BONGSU_MODEL_REGISTRY_USER", "BONGSU_MODEL_REGISTRY_PASSWORD")
    reader = _credentials(environ, "BONGSU_MODEL_REGISTRY_READER", "BONGSU_MODEL_REGISTRY_READER_PASSWORD")
    return FleetSettings(
        folder=folder,
        registry=environ.get("BONGSU_MODEL_REGISTRY") or str(folder / "models"),
        registry_ca=Path(ca) if ca else None,
        writer=writer,
        reader=reader or writer,
    )


def _credentials(environ: Mapping[str, str], user_key: str, password_key: str) -> Credentials | None:
    user = environ.get(user_key)
    if not user:
        return None
    password = environ.get(password_key)
    if (path := environ.get(f"{password_key}_FILE")) is not None:
        try:
            password = Path(path).read_text()[:_SECRET_BYTES].strip()
        except OSError as error:
            raise FleetError(f"{password_key}_FILE cannot be read: {path}: {error.strerror}") from None
    if not password:
        raise FleetError(f"{user_key} is {user!r} but has no password: set {password_key}_FILE to a file that holds it")
    return Credentials(user, password)
