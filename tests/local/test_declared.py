"""What the runner learns of hooks: from the functions, each imported in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from functions.hook import read_hooks
from functions.scaffold import write_function
from local.checks import RunError
from local.declared import find_hooks, needed_queues
from local.manifest import read_workloads


@pytest.fixture(autouse=True)
def path(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))


def test_hooks_of_functions_are_found_with_their_queues(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_function(tmp_path, "report", (), path="/hooks/night-report")
    write_function(tmp_path, "hospital", ("accident",))
    workloads = read_workloads(tmp_path / "keda")
    assert needed_queues(workloads) == ["accident.hospital", "hook-night-report.report", "answered.api"]
    assert [hook.path for hook in read_hooks(find_hooks(workloads))] == ["/hooks/night-report"]


def test_function_that_cannot_be_loaded_ends_the_run_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, *_ = write_function(tmp_path, "report", (), path="/hooks/report")
    code.write_text(code.read_text().replace('"/hooks/report"', '"/hook/report"'))
    with pytest.raises(RunError, match=r"@on.http: path must be /hooks/NAME.*'/hook/report'"):
        find_hooks(read_workloads(tmp_path / "keda"))


def test_nothing_is_imported_where_no_function_has_a_hook(tmp_path):
    code, *_ = write_function(tmp_path, "hospital", ("accident",))
    code.write_text("raise RuntimeError")
    assert find_hooks(read_workloads(tmp_path / "keda")) == ""
