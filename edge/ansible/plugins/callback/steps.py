"""Ansible callback `bongsu.edge.steps`: a line of JSON for each step, which edge/bootstrap.py shows."""

from __future__ import annotations

import json
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: steps
type: stdout
short_description: A line of JSON for each step
description: Prints task, state and reason of each result; never a value that was given to a task.
"""
_WOULD = "would have run if not in check mode"


class CallbackModule(CallbackBase):
    """Prints JSON lines."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "bongsu.edge.steps"

    def v2_runner_on_ok(self, result: Any) -> None:
        """A step is done; our own modules say of which parts it was."""
        said = result.result
        for note in said.get("notes", []):
            self._say("note", note)
        steps = said.get("steps", [result.task.get_name()])
        for step in steps:
            self._say("changed" if said.get("changed") else "ok", step)

    def v2_runner_on_skipped(self, result: Any) -> None:
        """A step did not apply, or is a command that `--check` leaves out."""
        if _WOULD in str(result.result.get("msg", "")):
            self._say("changed", result.task.get_name())

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """A step failed."""
        said = result.result
        reason = str(said.get("stderr") or said.get("msg") or "no reason was given").strip().splitlines()
        self._say("failed", result.task.get_name(), reason[-1][:400] if reason else "")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """The machine does not answer."""
        self._say("unreachable", result.task.get_name(), " ".join(str(result.result.get("msg", "")).split())[:400])

    def _say(self, state: str, step: str, reason: str = "") -> None:
        step = step.split(" : ", 1)[-1]
        print(json.dumps({"state": state, "step": step, "reason": reason}), flush=True)
