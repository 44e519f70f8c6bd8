"""The test servers of all channels as one process, controlled by commands, and its client for the driver.

By hand: `python -m bench.channels --ledger /tmp/ledger` prints the addresses, and reads commands: `fault x cut-after`,
`limit mastodon 5`, `away webhook 5`, `heal`. At the end of its input it prints the outcomes of requests, and exits.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.accounts import AcceptedPost
from tests.bluesky_double import BlueskyDouble
from tests.doubles import Double, MastodonDouble, WebhookDouble, XDouble

ROOT = Path(__file__).parents[1]
KEYS = ("api-key", "api-secret", "token", "token-secret")
TOKEN = "token of a double"
SECRET = b"secret of a double, long enough"
HANDLE, PASSWORD = "alerts.example.org", "password of a double"
NAMES = ("x", "mastodon", "webhook", "bluesky")
# A lost response is what can duplicate alerts, so it is the most frequent. A webhook's receiver accepts with any 2xx.
FAULTS = ("cut-after", "cut", "cut-after", "html-503", "limit", "json-500", "cut-after", "html-200", "slow")


class Channels:
    """The process of the test servers, from the driver's side."""

    def __init__(self, home: Path, x_limit: int, x_wait_s: float) -> None:
        self.ledger = home / "accepted"  # `ledger` is that of the events, bench/chaos.py
        self.ledger.touch()
        self._command = [
            sys.executable, "-m", "bench.channels", "--ledger", str(self.ledger),
            "--x-limit", str(x_limit), "--x-wait", str(x_wait_s),
        ]  # fmt: skip
        self._log = home / "channels.log"
        self._process: subprocess.Popen[str] | None = None
        self._urls: dict[str, str] = {}

    def start(self) -> None:
        """Start it, and read the addresses."""
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=ROOT, text=True
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the channels' test servers did not start: {self._log.read_text()[-2000:]}")
        self._urls = json.loads(line)

    def stop(self) -> Mapping[str, Mapping[str, int]]:
        """Stop it; returns the outcomes of requests, by channel."""
        process, self._process = self._process, None
        if process is None:
            return {}
        output, _ = process.communicate(timeout=30)
        met: Mapping[str, Mapping[str, int]] = json.loads(output)
        return met

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def environment(self) -> dict[str, str]:
        """Environment of a poster that uses these servers."""
        parts = ("API_KEY", "API_SECRET", "ACCESS_TOKEN", "ACCESS_SECRET")
        return {
            "BONGSU_CHANNELS": ",".join(("feed", *NAMES)),
            "BONGSU_X_API_URL": self._urls["x"],
            **{f"BONGSU_X_{part}": key for part, key in zip(parts, KEYS, strict=True)},
            "BONGSU_MASTODON_URL": self._urls["mastodon"],
            "BONGSU_MASTODON_TOKEN": TOKEN,
            "BONGSU_BLUESKY_URL": self._urls["bluesky"],
            "BONGSU_BLUESKY_HANDLE": HANDLE,
            "BONGSU_BLUESKY_PASSWORD": PASSWORD,
            # The link in a post on Bluesky says of which incident it is.
            "BONGSU_PUBLIC_URL": "https://map.example.org",
            "BONGSU_WEBHOOK_URL": f"{self._urls['webhook']}/hook",
            "BONGSU_WEBHOOK_SECRET": f"whsec_{base64.b64encode(SECRET).decode()}",
        }

    def fail(self, turn: int, faults: Sequence[str] = FAULTS) -> str:
        """Let the next post of one channel fail; channels and faults take turns. Returns the command."""
        channel, fault = NAMES[turn % len(NAMES)], faults[turn // len(NAMES) % len(faults)]
        if fault == "html-200" and channel == "webhook":
            fault = "cut-after"
        return self._order(f"limit {channel} {2 + turn % 4}" if fault == "limit" else f"fault {channel} {fault}")

    def leave(self, number: int) -> str:
        """Make one channel unreachable for some seconds."""
        return self._order(f"away {NAMES[number % len(NAMES)]} {3 + number % 5}")

    def heal(self) -> None:
        """End all faults except the rate limits."""
        self._order("heal")

    def accepted(self) -> Sequence[AcceptedPost]:
        """Posts that the servers accepted, in order."""
        return [AcceptedPost(**json.loads(line)) for line in self.ledger.read_text().splitlines()]

    def _order(self, order: str) -> str:
        assert self._process is not None and self._process.stdin is not None
        print(order, file=self._process.stdin, flush=True)
        return order


async def _serve(ledger: Path, x_limit: int, x_wait_s: float) -> None:
    doubles: dict[str, Any] = {
        "x": XDouble(KEYS, x_limit, x_wait_s),
        # More than this server's default, as only X's limit should be reached.
        "mastodon": MastodonDouble(TOKEN, limit=1_000_000),
        "webhook": WebhookDouble(SECRET),
        "bluesky": BlueskyDouble(HANDLE, PASSWORD),
    }
    async with contextlib.AsyncExitStack() as stack:
        for double in doubles.values():
            double.ledger = ledger
            # Longer than a poster's timeout.
            double.slow_s = 12.0
            await stack.enter_async_context(double)
        print(json.dumps({name: double.url for name, double in doubles.items()}), flush=True)
        orders = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
        absences: dict[str, asyncio.Task[None]] = {}
        while line := (await orders.readline()).decode():
            what, *words = line.split()
            if what == "heal":
                for double in doubles.values():
                    double.faults.clear()
                continue
            name, how = words
            if what == "fault":
                doubles[name].faults.append(how)
            elif what == "limit":
                doubles[name].faults.append(doubles[name].limited(float(how)))
            elif what == "away" and (name not in absences or absences[name].done()):
                absences[name] = asyncio.create_task(_be_away(doubles[name], float(how)))
        for absence in absences.values():
            absence.cancel()
        print(json.dumps({name: dict(double.met) for name, double in doubles.items()}), flush=True)


async def _be_away(double: Double, seconds: float) -> None:
    double.met["away"] += 1
    await double.go_away()
    await asyncio.sleep(seconds)
    await double.come_back()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--x-limit", type=int, default=100)
    parser.add_argument("--x-wait", type=float, default=900.0, help="seconds until it accepts posts again")
    chosen = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(chosen.ledger, chosen.x_limit, chosen.x_wait))
