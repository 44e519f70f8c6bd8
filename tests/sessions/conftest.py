"""A cluster that the tests of one file share where they leave it as it was."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from tests.sessions.cluster import BACKENDS, Cluster, running_cluster


@pytest.fixture(scope="module", params=BACKENDS)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with running_cluster(
        request.param, sessions_per_client="50", sessions_per_owner="200", sessions_wait_s="30"
    ) as running:
        running.serve()
        running.await_idle("scalar")
        yield running


@pytest.fixture
def base(cluster: Cluster) -> str:
    return f"http://127.0.0.1:{cluster.ports[0]}"


@pytest.fixture(scope="session")
def jpeg() -> bytes:
    """A picture with some contrast, so that the network looks at it."""
    noise = np.random.default_rng(1).integers(0, 255, (180, 320, 3), np.uint8)
    done, data = cv2.imencode(".jpg", noise)
    assert done
    return bytes(data)
