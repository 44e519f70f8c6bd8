"""Where the MQTT server is and under which topics the bridge publishes; read once, at its start."""

from __future__ import annotations

import re
import ssl
from urllib.parse import urlsplit

from functions import catalogue
from functions.settings import Environment, Secret, SettingsError, read

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_TOPIC = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")


class MqttSettings(Environment, frozen=True):
    """One MQTT server, and one tree of topics on it."""

    mqtt_url: str
    """The MQTT server: `mqtt://host[:1883]`, or `mqtts://host[:8883]` for TLS. No user and password in it."""
    mqtt_user: Secret = Secret("")
    """User name on the MQTT server."""
    mqtt_password: Secret = Secret("")
    """Password of that user."""
    mqtt_ca: str = ""
    """PEM file of the authority that signed the server's certificate; by default, those the system trusts."""
    mqtt_prefix: str = "bongsu"
    """Where all topics begin; of two installations on one server each needs its own."""
    mqtt_discovery_prefix: str = "homeassistant"
    """Discovery prefix of Home Assistant's MQTT integration; `none` publishes no discovery."""
    mqtt_poll_s: float = 1.0
    """Seconds between two looks at the database."""
    languages: str = "en,ko"
    """The site's languages, separated by commas: names in Home Assistant are in the first (docs/translate.md)."""
    public_url: str = ""
    """Address under which readers reach the map; links lead there, and without it there are none."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.mqtt_url)
        # The address is not repeated where it may hold a password.
        if parts.username is not None or parts.password is not None:
            raise ValueError("BONGSU_MQTT_URL must hold no user or password: set BONGSU_MQTT_USER and …_PASSWORD")
        if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/") or _port(self.mqtt_url) is None:
            raise ValueError(
                f"BONGSU_MQTT_URL must be mqtt://host[:port] or mqtts://host[:port], got {self.mqtt_url!r}"
            )
        if self.mqtt_password and not self.mqtt_user:
            raise ValueError("BONGSU_MQTT_PASSWORD needs BONGSU_MQTT_USER: MQTT sends no password without a user")
        if self.mqtt_ca and parts.scheme != "mqtts":
            raise ValueError("BONGSU_MQTT_CA needs an address with mqtts://")
        for name, prefix in (("PREFIX", self.mqtt_prefix), ("DISCOVERY_PREFIX", self.mqtt_discovery_prefix)):
            if not _TOPIC.fullmatch(prefix):
                raise ValueError(f"BONGSU_MQTT_{name} must be of letters, digits, _, - and /, got {prefix!r}")
        if not 0.1 <= self.mqtt_poll_s <= 60:
            raise ValueError(f"BONGSU_MQTT_POLL_S must be 0.1 to 60 seconds, got {self.mqtt_poll_s}")
        catalogue.parse_languages("BONGSU_LANGUAGES", self.languages)
        if self.public_url and not self.public_url.startswith(("https://", "http://")):
            raise ValueError(f"BONGSU_PUBLIC_URL must start with https:// or http://, got {self.public_url!r}")

    @property
    def language(self) -> str:
        """The language of names."""
        return catalogue.parse_languages("BONGSU_LANGUAGES", self.languages)[0]

    @property
    def host(self) -> str:
        """Name or address of the server."""
        return urlsplit(self.mqtt_url).hostname or ""

    @property
    def port(self) -> int:
        """Its port."""
        return _port(self.mqtt_url) or 0

    @property
    def discovery_prefix(self) -> str:
        """Where discovery begins; empty for none."""
        return "" if self.mqtt_discovery_prefix == "none" else self.mqtt_discovery_prefix

    def tls(self) -> ssl.SSLContext | None:
        """How the connection is encrypted, certificate and host name checked; None for `mqtt://`.

        Raises:
            SettingsError: the file of the authority cannot be used.
        """
        if not self.mqtt_url.startswith("mqtts://"):
            return None
        try:
            return ssl.create_default_context(cafile=self.mqtt_ca or None)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise SettingsError(f"BONGSU_MQTT_CA: cannot use {self.mqtt_ca!r}: {reason}: give a PEM file") from None


def load() -> MqttSettings:
    """Read the settings from the environment.

    Raises:
        SettingsError: the address is missing, or a value cannot be used.
    """
    return read(MqttSettings)


def _port(url: str) -> int | None:
    parts = urlsplit(url)
    try:
        return parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
