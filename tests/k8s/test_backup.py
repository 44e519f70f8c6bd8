"""The nightly dump, run as its container would, against a real MariaDB, and read back."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.k8s.conftest import ROOT
from tests.servers import MariaDB

pytestmark = pytest.mark.connected


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    if not all(shutil.which(name) for name in ("mariadb-dump", "mariadb", "mariadb-install-db")):
        pytest.skip("no mariadb-server: apt-get install mariadb-server")
    server = MariaDB(tmp_path_factory.mktemp("mariadb"))
    server.start()
    yield server
    server.stop()


def script(server: MariaDB, folder: Path) -> str:
    """What the CronJob runs, on this server and this folder."""
    documents = yaml.safe_load_all((ROOT / "k8s/base/backup.yaml").read_text())
    (job,) = [d for d in documents if d["kind"] == "CronJob"]
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    *shell, text = container["command"]
    assert shell == ["bash", "-euo", "pipefail", "-c"]
    return str(text).replace("--host=mysql", f"--host=127.0.0.1 --port={server.port}").replace("/backup", str(folder))


def run(server: MariaDB, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    given = {"MARIADB_USER": "root", "MARIADB_PASSWORD": "", "MARIADB_DATABASE": "bongsu", **more}
    command = ["bash", "-euo", "pipefail", "-c", script(server, folder)]
    return subprocess.run(command, env={**os.environ, **given}, capture_output=True, text=True, timeout=60)


def sql(server: MariaDB, text: str) -> str:
    command = ["mariadb", "--no-defaults", "--host=127.0.0.1", f"--port={server.port}", "--user=root", "bongsu"]
    return subprocess.run(command, input=text, check=True, capture_output=True, text=True, timeout=60).stdout


def test_restored_dump_replaces_later_data(server: MariaDB, tmp_path: Path) -> None:
    sql(server, "CREATE TABLE incidents (id BIGINT PRIMARY KEY, place TEXT) CHARACTER SET utf8mb4;")
    sql(server, "INSERT INTO incidents VALUES (1, '시청 동문'), (2, 'Alley');")
    done = run(server, tmp_path)
    assert done.returncode == 0, done.stderr
    (dump,) = tmp_path.iterdir()
    sql(server, "DELETE FROM incidents; INSERT INTO incidents VALUES (9, 'after');")
    done = run(server, tmp_path, RESTORE=dump.name)
    assert done.returncode == 0, done.stderr
    assert sql(server, "SELECT id, place FROM incidents ORDER BY id;").splitlines()[1:] == ["1\t시청 동문", "2\tAlley"]


def test_fourteen_dumps_are_kept_and_failures_replace_none(server: MariaDB, tmp_path: Path) -> None:
    for day in range(1, 21):
        path = tmp_path / f"bongsu-202610{day:02}T181700Z.sql.gz"
        path.write_bytes(b"")
        os.utime(path, (day, day))
    assert run(server, tmp_path).returncode == 0
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert len(kept) == 14
    assert kept[0] == "bongsu-20261008T181700Z.sql.gz"
    assert run(server, tmp_path, MARIADB_DATABASE="none").returncode != 0
    assert sorted(path.name for path in tmp_path.glob("bongsu-*")) == kept


def test_a_dump_that_is_not_there_is_an_error(server: MariaDB, tmp_path: Path) -> None:
    assert run(server, tmp_path, RESTORE="bongsu-none.sql.gz").returncode != 0
