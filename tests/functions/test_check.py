"""The conformance suite: our runtime and the Node example keep all rules, and functions that do not are found out."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from functions.check import rules
from functions.check.run import check
from functions.cli import run_command
from functions.cli_check import check as command

ROOT = Path(__file__).resolve().parents[2]
NODE = ROOT / "examples/lookout-node"
GIVEN = {
    "queue": "fire.lookout",
    "publishes": "lookout",
    "retry": {"place": {"name": ""}},
    "reject": {"frame": None},
}

# Acknowledges what it gets at once, then works; loses what fails; knows nothing of signals.
CARELESS = """
import asyncio, os, aio_pika, msgspec
async def main():
    connection = await aio_pika.connect_robust(os.environ["BONGSU_BROKER_URL"])
    channel = await connection.channel()
    exchange = await channel.get_exchange("bongsu")
    queue = await channel.get_queue("fire.lookout")
    async def take(message):
        fire = msgspec.msgpack.decode(message.body)
        await asyncio.sleep(0.05)
        body = msgspec.msgpack.encode({**fire, "type": "lookout"})
        await exchange.publish(aio_pika.Message(body), "lookout")
    await queue.consume(take, no_ack=True)
    await asyncio.Future()
asyncio.run(main())
"""


async def verdicts(words, url, log, chosen=rules.RULES):
    return {v.rule: v.problem async for v in check(words, url, log=log, rules=chosen, **GIVEN)}


@pytest.fixture
def built() -> str:
    """The Node example, built where it is not."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("no npm or node: apt-get install npm")
    if not (NODE / "build/lookout.js").exists():
        for words in (["npm", "ci", "--no-fund", "--no-audit"], ["npm", "run", "build"]):
            done = subprocess.run(words, cwd=NODE, capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"{' '.join(words)} failed, is a npm registry in reach? {done.stderr.strip()[-200:]}")
    return f"node {NODE}/build/lookout.js"


@pytest.mark.connected
async def test_node_example_keeps_every_rule(rabbit_url, built, tmp_path):
    found = await verdicts(built, rabbit_url, tmp_path / "log")
    assert len(found) == len(rules.RULES) and not any(found.values()), found


@pytest.mark.connected
@pytest.mark.slow
async def test_our_runtime_keeps_every_rule(rabbit_url, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    words = f"{sys.executable} -m functions {ROOT}/examples/lookout.py"
    found = await verdicts(words, rabbit_url, tmp_path / "log")
    assert len(found) == len(rules.RULES) and not any(found.values()), found


@pytest.mark.connected
async def test_careless_function_is_found_out(rabbit_url, tmp_path, monkeypatch):
    (tmp_path / "careless.py").write_text(CARELESS)
    monkeypatch.setattr(rules, "_BACKLOG", 60)
    chosen = (rules.answers, rules.ignores_unknown_fields, rules.drains_on_sigterm)
    found = await verdicts(f"{sys.executable} {tmp_path}/careless.py", rabbit_url, tmp_path / "log", chosen)
    headers, unknown, drained = found.values()
    assert "cloudEvents:specversion" in headers and not unknown and "status" in drained, found


def test_what_cannot_be_checked_is_said_in_one_line(monkeypatch, capsys):
    monkeypatch.setenv("BONGSU_BROKER_URL", "sqlite:///a.db")
    assert run_command(command, ["true"]) == 1
    assert "BONGSU_BROKER_URL must be amqp://…, the URL of a RabbitMQ, got 'sqlite:///a.db'" in capsys.readouterr().err
    monkeypatch.setenv("BONGSU_BROKER_URL", "amqp://127.0.0.1:9")
    assert run_command(command, ["true", "--retry", "[]"]) == 1
    assert '--retry must be a JSON object such as {"place"' in capsys.readouterr().err
