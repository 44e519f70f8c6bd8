"""The settings of a fleet, from the environment: its files and its registry. The commands read them."""

from __future__ import annotations

import os
import re
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
        gateway: address of `bongsu fleet gateway` as nodes reach it; `BONGSU_FLEET_GATEWAY`. None: nodes pull from the
            registry itself, with the reader's password for the time of a pull.
        gateway_ca: PEM file of the authority that signed the gateway's certificate; `BONGSU_FLEET_GATEWAY_CA`.
        status_file: what the API reads; `BONGSU_FLEET_STATUS`. None: `status.json` in `folder`.
        reader: the user on nodes; `BONGSU_MODEL_REGISTRY_READER` and `…_READER_PASSWORD_FILE`. None: `writer`.
    """

    folder: Path
    registry: str
    registry_ca: Path | None = None
    writer: Credentials | None = None
    reader: Credentials | None = None
    gateway: str | None = None
    gateway_ca: Path | None = None
    status_file: Path | None = None

    @property
    def is_remote(self) -> bool:
        """Whether the registry is a server, and not a folder."""
        return self.registry.startswith(("https://", "http://"))


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Where the gateway listens: `BONGSU_GATEWAY_LISTEN` (`host:port`), `…_CERTIFICATE` and `…_KEY` (PEM files)."""

    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None


def read_settings(environ: Mapping[str, str] = os.environ) -> FleetSettings:
    """Read the settings from the environment.

    Raises:
        FleetError: a file that it names cannot be read, or a user has no password.
    """
    folder = Path(environ.get("BONGSU_FLEET") or "state/fleet")
    ca, gateway_ca = (_pem(environ, key) for key in ("BONGSU_MODEL_REGISTRY_CA", "BONGSU_FLEET_GATEWAY_CA"))
    gateway = (environ.get("BONGSU_FLEET_GATEWAY") or "").rstrip("/") or None
    if gateway is not None and not re.match(r"https://.|http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?$", gateway):
        raise FleetError(f"BONGSU_FLEET_GATEWAY must be https://host[:port], got {gateway!r}")
    writer = _credentials(environ, "BONGSU_MODEL_REGISTRY_USER", "BONGSU_MODEL_REGISTRY_PASSWORD")
    reader = _credentials(environ, "BONGSU_MODEL_REGISTRY_READER", "BONGSU_MODEL_REGISTRY_READER_PASSWORD")
    return FleetSettings(
        folder=folder,
        registry=environ.get("BONGSU_MODEL_REGISTRY") or str(folder / "models"),
        registry_ca=ca,
        writer=writer,
        reader=reader or writer,
        gateway=gateway,
        gateway_ca=gateway_ca,
        status_file=Path(environ["BONGSU_FLEET_STATUS"]) if environ.get("BONGSU_FLEET_STATUS") else None,
    )


def read_gateway_settings(environ: Mapping[str, str] = os.environ) -> GatewaySettings:
    """Read where the gateway listens.

    Raises:
        FleetError: a value has another form.
    """
    listen = environ.get("BONGSU_GATEWAY_LISTEN") or "127.0.0.1:8094"
    host, separator, port = listen.rpartition(":")
    if not separator or not port.isdecimal() or not 0 < int(port) < 65536:
        raise FleetError(f"BONGSU_GATEWAY_LISTEN must be host:port, got {listen!r}")
    certificate, key = (_pem(environ, f"BONGSU_GATEWAY_{part}") for part in ("CERTIFICATE", "KEY"))
    return GatewaySettings(host.strip("[]"), int(port), certificate, key)


def signing_key(settings: FleetSettings) -> Path:
    """Where the key that signs is: `BONGSU_SIGNING_KEY`, or that of `bongsu models keygen`."""
    return Path(os.environ.get("BONGSU_SIGNING_KEY") or settings.folder / "keys/signing.pem")


def _pem(environ: Mapping[str, str], key: str) -> Path | None:
    path = environ.get(key)
    if path and not Path(path).is_file():
        raise FleetError(f"{key} must be a PEM file, and there is none at {path!r}")
    return Path(path) if path else None


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
