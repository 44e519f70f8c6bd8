"""Where alerts go in `smoke_test.py`: a webhook, a subscribed browser's push service, an MQTT server, a vision network.

They are the doubles of the tests, and Debian's Mosquitto; each checks what it gets as the real one would.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.doubles import WebhookDouble
from tests.push_service import PushService
from tests.servers import Mosquitto
from tests.vision_double import OllamaDouble

_SECRET = b"a secret of thirty-two bytes ..."
CAMERA = "depot-1"
WISH = {
    "hazards": ["fire"],
    "area": {"kind": "circle", "lat": 37.5446, "lon": 127.0557, "radius_m": 1000},
    "language": "en",
}


class Receivers:
    """All of them; use with `with`."""

    def __init__(self, folder: Path) -> None:
        self.webhook, self.push, self.vision = WebhookDouble(_SECRET), PushService(), OllamaDouble()
        self.mosquitto = Mosquitto(folder)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._stack = contextlib.AsyncExitStack()

    def __enter__(self) -> Self:
        self.mosquitto.start()
        self._thread.start()
        for each in (self.webhook, self.push, self.vision):
            asyncio.run_coroutine_threadsafe(self._stack.enter_async_context(each), self._loop).result(30)
        self.browser = self.push.browser("phone")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stack.aclose(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self.mosquitto.stop()

    def environment(self, *, has_opinion: bool) -> dict[str, dict[str, str]]:
        """The variables that lead to them, by container."""
        asked = {
            "BONGSU_OPINION_POLICY": "fire=mark",
            "BONGSU_OPINION_URL": self.vision.url,
            "BONGSU_OPINION_API": "ollama",
            "BONGSU_OPINION_MODEL": "test",
            "BONGSU_OPINION_KEY": self.vision.key,
        }
        return {
            "post": {
                "BONGSU_CHANNELS": "feed,webhook",
                "BONGSU_WEBHOOK_URL": f"{self.webhook.url}/hook",
                "BONGSU_WEBHOOK_SECRET": f"whsec_{base64.b64encode(_SECRET).decode()}",
            },
            "api": {"BONGSU_PUSH_ALLOW": self.push.host},
            "push": {"BONGSU_PUSH_ALLOW": self.push.host, "BONGSU_PUSH_CONTACT": "mailto:operator@example.org"},
            "mqtt": {"BONGSU_MQTT_URL": f"mqtt://127.0.0.1:{self.mosquitto.port}"},
            "caption": asked if has_opinion else {},
        }

    def subscribe(self, base: str) -> None:
        """Ask the map API at `base` for warnings, as a browser does."""
        endpoint = self.browser.endpoint
        body = WISH | {"endpoint": endpoint.url, "keys": {"p256dh": endpoint.p256dh, "auth": endpoint.auth}}
        url, headers = f"{base}/api/push/subscriptions", {"Content-Type": "application/json"}
        urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=30).close()

    def missing(self, *, has_opinion: bool) -> list[str]:
        """What has not got the alert yet."""
        got = {
            "webhook": bool(self.webhook.posts),
            "push": bool(self.browser.received),
            "mqtt": self._published() == "ON",
            "second opinion": bool(self.vision.pictures) or not has_opinion,
        }
        return [name for name, is_there in got.items() if not is_there]

    def _published(self) -> str:
        topic, port = f"bongsu/cameras/{CAMERA}/fire", str(self.mosquitto.port)
        command = ["mosquitto_sub", "-h", "127.0.0.1", "-p", port, "-t", topic, "-C", "1", "-W", "2"]
        return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()
