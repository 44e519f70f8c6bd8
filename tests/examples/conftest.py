"""What the tests of the examples share: their folder, and an HTTP server that notes what it is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.stores import *  # noqa: F403 - fixtures

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@dataclass
class Receiver:
    """A server on a free port of loopback that takes JSON; `statuses` are its next answers, then 200."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    requests: list[tuple[str, dict[str, Any], dict[str, str]]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        status = self.statuses.pop(0) if self.statuses else 200
        self.requests.append((f"{request.method} {request.path}", await request.json(), dict(request.headers)))
        return web.Response(status=status)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    app, taken = web.Application(), Receiver()
    app.router.add_route("*", "/{path:.*}", taken.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    taken.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield taken
    await runner.cleanup()
