"""Shows a deployment's progress: on a terminal a bar for each node, elsewhere a line for each change."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TextIO

_BAR_CELLS = 24
_REDRAW_S = 0.1
_LINE_S = 5.0


class ProgressView:
    """One line per node: its state, and the bytes that it has received."""

    def __init__(self, names: list[str], out: TextIO | None = None) -> None:
        """Show the nodes in the order of `names`, all waiting."""
        self._out = out or sys.stderr
        self._is_terminal = self._out.isatty()
        self._rows = {name: ["waiting", 0, 0] for name in names}
        self._width = max((len(name) for name in names), default=0)
        self._drawn = 0
        self._drawn_at = 0.0
        self._shown_at: dict[str, float] = {}

    def state(self, name: str, state: str) -> None:
        """Show that a node has reached a state, such as `pulling` or `in use`."""
        self._rows[name][0] = state
        if self._is_terminal:
            self._draw()
        else:
            print(self._row(name), file=self._out, flush=True)

    def bytes(self, name: str, done: int, total: int) -> None:
        """Show a node's progress."""
        self._rows[name] = ["pulling", done, total]
        now = time.monotonic()
        if self._is_terminal:
            if now - self._drawn_at >= _REDRAW_S:
                self._draw()
        elif now - self._shown_at.get(name, 0.0) >= _LINE_S:
            self._shown_at[name] = now
            print(self._row(name), file=self._out, flush=True)

    def _draw(self) -> None:
        self._drawn_at = time.monotonic()
        size = shutil.get_terminal_size()
        rows = [self._row(name)[: size.columns - 1] for name in self._rows]
        if len(rows) > size.lines - 2:  # lines that have scrolled away cannot be drawn over
            rows = [self._summary()]
        up = f"\x1b[{self._drawn}F" if self._drawn else ""
        self._out.write(up + "".join(f"\x1b[2K{row}\n" for row in rows))
        self._out.flush()
        self._drawn = len(rows)

    def _row(self, name: str) -> str:
        state, done, total = self._rows[name]
        if not isinstance(done, int) or not isinstance(total, int) or total <= 0:
            return f"{name:<{self._width}}  {state}"
        share = min(1.0, done / total)
        bar = "#" * round(share * _BAR_CELLS)
        return (
            f"{name:<{self._width}}  [{bar:<{_BAR_CELLS}}] {share:4.0%} {done / 1e6:.1f}/{total / 1e6:.1f} MB  {state}"
        )

    def _summary(self) -> str:
        states: dict[str, int] = {}
        for state, _, _ in self._rows.values():
            states[str(state)] = states.get(str(state), 0) + 1
        return ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
