"""The command line, as its user sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import EntryPoint, version
from pathlib import Path

import pytest

import functions
from functions import HazardSeen, Place, cli, encode, new_id, utc_now
from functions.broker import connect
from functions.topology import queues

ROOT = Path(__file__).parents[2]


def bongsu(state: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from functions.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, "BONGSU_BROKER_URL": f"sqlite:///{state}/broker.db"},
    )


async def test_dead_letters_are_listed_shown_and_replayed(tmp_path: Path) -> None:
    event = HazardSeen(id=new_id(), hazard="fire", camera="c", place=Place(37, 127, "gate"), captured_at=utc_now())
    broker = await connect(f"sqlite:///{tmp_path}/broker.db")
    await broker.declare(queues(["fire.post"]))
    await broker.publish(encode(event))
    async with broker.consume(["fire.post"]) as consumer:
        delivery = await consumer.get(5)
        assert delivery is not None
        await delivery.reject("channel refused")

    listed = bongsu(tmp_path, "dead", "list")
    assert event.id in listed.stdout
    assert "channel refused" in listed.stdout
    id_ = listed.stdout.split("\t")[0]
    shown = json.loads(bongsu(tmp_path, "dead", "show", id_).stdout)
    assert (shown["queue"], shown["event"]["id"]) == ("fire.post", event.id)
    assert bongsu(tmp_path, "dead", "show", "77").returncode == 1
    assert "1 of 1" in bongsu(tmp_path, "dead", "replay", id_).stdout
    assert (await broker.depth("fire.post")).ready == 1
    assert bongsu(tmp_path, "dead", "list").stdout == ""
    await broker.close()


async def test_topology_declares_the_queues_of_a_file(tmp_path: Path) -> None:
    hospital = tmp_path / "hospital.py"
    hospital.write_text('from functions import on\n@on("accident")\nasync def call(event): ...\n')
    assert bongsu(tmp_path, "topology", "apply", str(hospital), "fire.map").returncode == 0
    broker = await connect(f"sqlite:///{tmp_path}/broker.db")
    assert (await broker.depth("accident.hospital")).ready == 0
    assert (await broker.depth("fire.map")).ready == 0
    await broker.close()


def test_a_new_function_runs_its_own_test(tmp_path: Path) -> None:
    for room in ("notify", "keda", "tests/notify"):
        (tmp_path / room).mkdir(parents=True)
    (tmp_path / "notify/__init__.py").touch()
    made = bongsu(
        tmp_path, "function", "new", "fire_brigade", "--on", "accident", "--on", "fire", "--into", str(tmp_path)
    )
    assert made.returncode == 0, made.stderr
    assert "fire.fire_brigade" in (tmp_path / "keda/fire_brigade.yaml").read_text()
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto", "tests"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
    )
    assert "1 passed" in tested.stdout, tested.stdout + tested.stderr
    again = bongsu(tmp_path, "function", "new", "fire_brigade", "--on", "fire", "--into", str(tmp_path))
    assert "exists already" in again.stderr


def test_new_function_in_an_empty_folder_runs_its_own_test(tmp_path: Path) -> None:
    made = bongsu(tmp_path, "function", "new", "hospital", "--on", "accident", "--into", str(tmp_path))
    assert made.returncode == 0, made.stderr
    files = [tmp_path / name for name in ("hospital.py", "keda/hospital.yaml", "tests/test_hospital.py")]
    assert [line for line in made.stdout.splitlines() if line.startswith("wrote ")] == [f"wrote {f}" for f in files]
    assert "[python, -m, functions, ./hospital.py]" in files[1].read_text()
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert "1 passed" in tested.stdout, tested.stdout + tested.stderr


def test_a_wrong_command_is_one_clear_line(tmp_path: Path) -> None:
    for arguments in (["dance"], ["function", "new", "Bad-Name", "--on", "fire"], ["topology", "apply", "nowhere"]):
        result = bongsu(tmp_path, *arguments)
        assert result.returncode == 1
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
        assert "Traceback" not in result.stderr


def test_version_is_the_installed_one(tmp_path: Path) -> None:
    done = bongsu(tmp_path, "--version")
    assert (done.returncode, done.stdout) == (0, f"bongsu {version('bongsu')}\n")


def test_help_describes_every_command_in_one_line(tmp_path: Path) -> None:
    done = bongsu(tmp_path, "--help")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.partition("Commands:\n")[2].splitlines()
    commands = {line.split()[0]: line for line in lines}
    assert len(commands) == len(lines)
    assert {"cameras", "db", "dead", "function", "key", "run", "topology", "trace"} <= set(commands)
    assert all(line.endswith(".") and not line.endswith("...") for line in lines), done.stdout


def test_call_without_a_command_shows_the_usage(tmp_path: Path) -> None:
    for arguments in ((), ("dead",), ("dead", "replay"), ("function", "new", "x"), ("run", "--what")):
        done = bongsu(tmp_path, *arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("Usage: bongsu")


def test_shells_complete_commands_and_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_BONGSU_COMPLETE", "bash_complete")
    for words, word in (("bongsu to", "topology"), ("bongsu run --de", "--demo")):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
        assert bongsu(tmp_path).stdout.split() == [f"plain,{word}"]


def test_command_whose_packages_are_missing_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = EntryPoint("fly", "no_such_room.cli:fly", "bongsu.commands")
    monkeypatch.setattr(cli, "entry_points", lambda **_: [missing])
    assert cli.run_command(cli.bongsu, ["fly", "--high"], "bongsu") == 1
    assert capsys.readouterr().err == (
        "bongsu: fly needs what is not installed here (No module named 'no_such_room'): pip install 'bongsu[all]'\n"
    )
    assert cli.run_command(cli.bongsu, ["--help"], "bongsu") == 0
    assert "Not installed here" in capsys.readouterr().out


def test_overwritten_package_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(functions, "on")
    with pytest.raises(SystemExit, match=r"^bongsu: the package 'functions' in .* was overwritten by"):
        cli.main(["--version"])


def test_cold_start_of_a_function_does_not_import_click() -> None:
    code = "import sys, functions.__main__, functions.runtime, functions.broker.sqlite; print('click' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
