"""The short form of `make chaos`: real workers on a real RabbitMQ, all of which is broken in mid-work."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.channels import NAMES
from bench.chaos import SHORT, Chaos
from tests.servers import rabbit_tools


@pytest.mark.connected
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(rabbit_tools() is None, reason="no rabbitmq-server: apt-get install rabbitmq-server")
def test_whatever_breaks_nothing_is_lost_and_nothing_told_twice(tmp_path: Path) -> None:
    said: list[str] = []
    result = Chaos(SHORT, tmp_path, said.append).run()
    assert not result.problems, "\n".join([*result.problems, *said, str(result.facts)])
    assert (result.facts["lost"], result.facts["on the map"]) == (0, SHORT.events)
    assert {"recipient refused", "recipient away", "not an event"} <= set(result.facts["their reasons"])
    met = result.facts["outcomes of the channels' requests"]
    assert all(met[channel]["cut-after"] for channel in NAMES), met
    assert met["x"]["403"], "X was asked again for a post that was out"
    assert met["bluesky"]["put again"], "Bluesky was given a post again under its key"
