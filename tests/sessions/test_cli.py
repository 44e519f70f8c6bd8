"""`bongsu sessions` against a real receive server."""

from __future__ import annotations

import pytest

from functions.cli import run_command
from sessions.cli import sessions
from tests.sessions.cluster import Cluster, KubernetesCluster, ask, free_port


def test_an_operator_lists_shows_and_ends(
    cluster: Cluster, base: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = ask(base, client="from-the-cli").json()
    monkeypatch.setenv("BONGSU_SESSIONS_STATE", str(cluster.folder))
    assert run_command(sessions, ["--url", base, "list"]) == 0
    out, err = capsys.readouterr()
    header, line = out.splitlines()
    assert header.split()[:4] == ["id", "kind", "client", "state"]
    assert line.split()[:5] == [session["id"], "scalar", "from-the-cli", "ready", "edge"]
    assert err.startswith("1 sessions; idle workers: ")
    assert run_command(sessions, ["--url", base, "show", session["id"]]) == 0
    assert "owner         address 127.0.0.1" in capsys.readouterr().out
    assert run_command(sessions, ["--url", base, "end", session["id"]]) == 0
    assert capsys.readouterr().out == f"ended {session['id']}\n"
    assert run_command(sessions, ["--url", base, "show", session["id"]]) == 1
    assert "bongsu sessions list shows them" in capsys.readouterr().err


def test_an_operator_drains_a_machine(cluster: Cluster, base: str, capsys: pytest.CaptureFixture[str]) -> None:
    if isinstance(cluster, KubernetesCluster):
        assert run_command(sessions, ["--url", base, "drain"]) == 1
        assert "nodes of a cluster are drained by their cluster: kubectl drain NODE" in capsys.readouterr().err
        return
    assert run_command(sessions, ["--url", base, "drain"]) == 0
    assert capsys.readouterr().out.endswith(" is drained\n")
    assert run_command(sessions, ["--url", base, "list"]) == 0
    assert capsys.readouterr().err.endswith("; drained\n")
    assert cluster.list_all()["idle"] == []
    assert run_command(sessions, ["--url", base, "drain", "--undo"]) == 0
    assert capsys.readouterr().out.endswith(" serves sessions again\n")
    cluster.await_idle("scalar")


def test_what_cannot_be_done_is_said_in_one_line(
    base: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BONGSU_SESSIONS_STATE", "/nowhere")
    assert run_command(sessions, ["--url", base, "end", "nothing"]) == 1
    assert capsys.readouterr().err.startswith(
        "bongsu sessions: no session 'nothing': it has ended, or never existed: ask"
    )
    assert run_command(sessions, ["--url", f"http://127.0.0.1:{free_port()}", "list"]) == 1
    assert "is it running? --url names another" in capsys.readouterr().err
