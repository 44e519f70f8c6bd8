"""A YAML file of another system, with the line on which each key stands, so that what is left out can be named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from motion.setup.entries import Proposal

Keys = tuple[str | int, ...]


class ImportFileError(ValueError):
    """The file cannot be read; one line without any of its text."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What a file of another system holds for us."""

    proposals: tuple[Proposal, ...]
    left_out: tuple[str, ...]
    """`LINE: what: why`, in the order of the lines."""


@dataclass(slots=True)
class Marked:
    """A file's content and the lines of its keys."""

    data: dict[str, Any]
    lines: dict[Keys, int]
    said: list[tuple[int, str]] = field(default_factory=list)

    def leave_out(self, keys: Sequence[str | int], why: str) -> None:
        """Record that what stands at these keys is not taken over."""
        found = tuple(keys)
        line = next((self.lines[found[:n]] for n in range(len(found), 0, -1) if found[:n] in self.lines), 1)
        name = ".".join(str(key) for key in found if not isinstance(key, int))
        self.said.append((line, f"{line}: {name}: {why}"))

    def leave_out_others(self, keys: Sequence[str | int], known: Sequence[str], reasons: dict[str, str]) -> None:
        """Record every key of a mapping that is not in `known`; `reasons` says why, by key."""
        inside: Any = self.data
        for key in keys:
            inside = inside[key]
        for key in inside if isinstance(inside, dict) else ():
            if key not in known:
                self.leave_out((*keys, str(key)), reasons.get(str(key), "has no counterpart here"))

    @property
    def left_out(self) -> tuple[str, ...]:
        """What was recorded, in the order of the lines."""
        return tuple(text for _, text in sorted(self.said, key=lambda said: said[0]))


def read_marked(path: Path) -> Marked:
    """Read a file of mappings.

    Raises:
        ImportFileError: it is not there, or not YAML.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        node = yaml.compose(text, yaml.SafeLoader)
        data = yaml.safe_load(text)
    except OSError as error:
        raise ImportFileError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ImportFileError(f"{path}: is not UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        at = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ImportFileError(f"{path}: is not YAML{at}") from None
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError):
        raise ImportFileError(f"{path}: is not YAML") from None
    if not isinstance(data, dict) or node is None:
        raise ImportFileError(f"{path}: must be a mapping, as the configuration of Frigate and go2rtc is")
    return Marked({str(key): value for key, value in data.items()}, dict(_lines(node, ())))


def _lines(node: yaml.Node, keys: Keys) -> Iterator[tuple[Keys, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*keys, str(key.value))
            yield inner, key.start_mark.line + 1
            yield from _lines(value, inner)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield (*keys, number), value.start_mark.line + 1
            yield from _lines(value, (*keys, number))
