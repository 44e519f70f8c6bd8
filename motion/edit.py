"""Changes `cameras.yaml` in place: what is not changed stays as it was, to the byte, comments included.

YAML libraries that keep comments write the whole file in their own layout; here only the lines that change are
written, at the positions that PyYAML's parser states, and the result is read again and compared before it is saved.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from motion.files import replace_text

_NEW = "# The cameras of this site; cameras.example.yaml explains every field.\ncameras:\n"
_PLAIN = re.compile(r"[A-Za-z0-9][\w .,+-]*")


class EditError(ValueError):
    """The file cannot be changed as asked; one line that names the fix and holds no URL."""


class CamerasText:
    """The text of a file of cameras and the changes made to it; `save` writes them."""

    def __init__(self, text: str, name: str = "cameras.yaml") -> None:
        """Take the text of the file called `name`.

        Raises:
            EditError: it is not a YAML mapping with a list `cameras`.
        """
        self.text = text
        self._name = name
        self._newline = "\r\n" if "\r\n" in text else "\n"
        self._check()

    @classmethod
    def read(cls, path: Path) -> CamerasText:
        """The file, or an empty list of cameras where there is none yet.

        Raises:
            EditError: it cannot be read or changed.
        """
        try:
            return cls(path.read_bytes().decode("utf-8"), str(path))
        except FileNotFoundError:
            return cls(_NEW, str(path))
        except UnicodeDecodeError:
            raise EditError(f"{path}: is not UTF-8 text: save it as UTF-8") from None
        except OSError as error:
            raise EditError(f"{path}: cannot be read: {error.strerror}") from None

    def save(self, path: Path) -> None:
        """Write the text to the file in one step.

        Raises:
            EditError: it cannot be written.
        """
        try:
            replace_text(path, self.text)
        except OSError as error:
            raise EditError(f"{path}: cannot be written: {error.strerror}") from None

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The cameras as they stand in the file, variables not filled in."""
        return [entry for entry in self._data().get("cameras") or [] if isinstance(entry, dict)]

    def add(self, entry: Mapping[str, Any], notes: Sequence[str] = (), *, is_comment: bool = False) -> None:
        """Add a camera at the end of the list.

        Args:
            entry: its fields, in the order in which they are to stand.
            notes: lines of comment above it.
            is_comment: write it as a comment, for an entry that is not complete yet.

        Raises:
            EditError: the list is written in a form to which nothing can be added.
        """
        root, node = self._nodes()
        before = self._data()
        column = node.start_mark.column if isinstance(node, yaml.SequenceNode) and node.value else 2
        lines = [*(f"# {note}" for note in notes), *("# " * is_comment + line for line in rendered(entry))]
        block = ["", *(" " * column + line for line in lines)]
        if isinstance(node, yaml.SequenceNode) and node.flow_style:
            self._open_flow(node)
            root, node = self._nodes()
        at = max(_last_line(node), self._line_of_key(root, "cameras"))
        if not (isinstance(node, yaml.SequenceNode) and node.value):
            block = block[1:]
        self._insert(at + 1, block)
        entries = before.get("cameras") or []
        self._require({**before, "cameras": entries if is_comment else [*entries, dict(entry)]})

    def update(self, camera: str, key: str, value: object) -> None:
        """Give a field of a camera another value; of a list, the items that stay keep their lines and comments.

        Raises:
            EditError: there is no such camera, or its entry is written in a form that cannot be changed.
        """
        wanted = copy.deepcopy(self._data())
        entry = next((each for each in wanted.get("cameras") or [] if str(each.get("id")) == camera), None)
        if entry is None:
            raise EditError(f"{self._name}: has no camera {camera!r}")
        node = self._entry(camera)
        old = next((found for name, found in node.value if name.value == key), None)
        if old is None:
            self._add_field(node, key, value)
        elif isinstance(old, yaml.SequenceNode) and not old.flow_style and isinstance(value, list) and value:
            self._change_items(old, entry[key], value)
        else:
            self._replace(old, flow(value))
        entry[key] = value
        self._require(wanted)

    def _entry(self, camera: str) -> yaml.MappingNode:
        _, cameras = self._nodes()
        for node in cameras.value:
            if isinstance(node, yaml.MappingNode) and any(k.value == "id" and v.value == camera for k, v in node.value):
                return node
        raise EditError(f"{self._name}: camera {camera!r} is written in a way that cannot be changed here")

    def _add_field(self, node: yaml.MappingNode, key: str, value: object) -> None:
        if node.flow_style:
            at = node.end_mark.index - 1
            self.text = f"{self.text[:at].rstrip()}, {key}: {flow(value)}{self.text[at:]}"
            return
        column = node.start_mark.column
        self._insert(_last_line(node) + 1, [" " * column + line[2:] for line in rendered({key: value})])

    def _change_items(self, node: yaml.SequenceNode, old: Sequence[Any], new: list[Any]) -> None:
        """Take out the lines of items that are gone, and add those that are new after the last."""
        added = [item for item in new if item not in old]
        column = node.start_mark.column
        self._insert(_last_line(node) + 1, [f"{' ' * column}- {flow(item)}" for item in added])
        lines = self.text.splitlines(keepends=True)
        for item, given in reversed(list(zip(node.value, old, strict=True))):
            if given not in new:
                del lines[item.start_mark.line : _last_line(item) + 1]
        self.text = "".join(lines)

    def _replace(self, node: yaml.Node, text: str) -> None:
        start, end = node.start_mark.index, node.end_mark.index
        if isinstance(node, yaml.CollectionNode) and not node.flow_style:
            # A block: what is left of its last line, such as a comment, goes with it.
            lines = self.text.splitlines(keepends=True)
            end = sum(map(len, lines[: _last_line(node) + 1]))
            start = len(self.text[:start].rstrip())
            text = f" {text}{self._newline}"
        self.text = self.text[:start] + text + self.text[end:]

    def _open_flow(self, node: yaml.SequenceNode) -> None:
        if node.value:
            raise EditError(
                f"{self._name}: 'cameras: [...]' is on one line: give each camera a line of its own, '- id:'"
            )
        start, end = node.start_mark.index, node.end_mark.index
        self.text = self.text[:start].rstrip(" ") + self.text[end:]

    def _insert(self, at: int, block: Sequence[str]) -> None:
        lines = self.text.splitlines(keepends=True)
        if lines and not lines[-1].endswith("\n"):
            lines[-1] += self._newline
        self.text = "".join([*lines[:at], *(line.rstrip() + self._newline for line in block), *lines[at:]])

    def _require(self, wanted: dict[str, Any]) -> None:
        """Compare the changed text with what was meant: a layout that the steps above misjudge is never saved."""
        try:
            found = self._data()
        except EditError:
            found = {}
        if _loose({**found, "cameras": found.get("cameras") or []}) != _loose(wanted):
            raise EditError(f"{self._name}: is laid out in a way that cannot be changed here: add the lines by hand")

    def _check(self) -> None:
        data = self._data()
        if not isinstance(data.get("cameras") or [], list):
            raise EditError(f"{self._name}: must hold a list 'cameras:', as cameras.example.yaml does")
        if "cameras" not in data:
            self._insert(len(self.text.splitlines()), ["cameras:"])

    def _data(self) -> dict[str, Any]:
        try:
            data = yaml.safe_load(self.text)
        except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError):
            raise EditError(f"{self._name}: is not YAML: 'bongsu cameras check' says where") from None
        if data is not None and not isinstance(data, dict):
            raise EditError(f"{self._name}: must hold a list 'cameras:', as cameras.example.yaml does")
        return data or {}

    def _nodes(self) -> tuple[yaml.MappingNode, yaml.Node]:
        root = yaml.compose(self.text, yaml.SafeLoader)
        assert isinstance(root, yaml.MappingNode)
        return root, next(value for key, value in root.value if key.value == "cameras")

    def _line_of_key(self, node: yaml.MappingNode, name: str) -> int:
        return int(next(key.end_mark.line for key, _ in node.value if key.value == name))


def rendered(entry: Mapping[str, Any]) -> list[str]:
    """An entry as lines of YAML: a field on each, a list of polygons or zones with one on each."""
    lines: list[str] = []
    for key, value in entry.items():
        if isinstance(value, list) and value and not isinstance(value[0], str | int | float):
            lines += [f"{key}:", *(f"  - {flow(item)}" for item in value)]
        else:
            lines.append(f"{key}: {flow(value)}")
    return [("- " if number == 0 else "  ") + line for number, line in enumerate(lines)]


def flow(value: object) -> str:
    """A value on one line of YAML."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and yaml.safe_load(value) == value:
        return value.strip() if value.strip() == value else json.dumps(value, ensure_ascii=False)
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**9)
    return str(text).removesuffix("\n").removesuffix("\n...")


def _last_line(node: yaml.Node) -> int:
    """The last line on which something of a node stands; the marks of blocks reach on to what follows them."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style and node.value:
        key, value = node.value[-1]
        return max(int(key.end_mark.line), _last_line(value))
    if isinstance(node, yaml.SequenceNode) and not node.flow_style and node.value:
        return max(int(node.start_mark.line), _last_line(node.value[-1]))
    end = node.end_mark
    is_block_text = isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")
    return int(end.line) - (1 if is_block_text and end.column == 0 and end.line > node.start_mark.line else 0)


def _loose(value: object) -> object:
    """Tuples as lists, so that an entry made in Python equals the one that was read."""
    if isinstance(value, Mapping):
        return {key: _loose(item) for key, item in value.items()}
    return [_loose(item) for item in value] if isinstance(value, list | tuple) else value
