"""Error messages for values of `cameras.yaml`: one line with the value and the fix, without a URL."""

from __future__ import annotations

import difflib
import re
from typing import Any

from pydantic import BaseModel

from functions import event

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")

# Error types of pydantic for a value that is not a list or mapping, or has too many or too few keys.
_MISSHAPEN = ("tuple_type", "model_type", "dict_type", "string_type", "missing", "extra_forbidden")


def line(model: type[BaseModel], error: Any) -> str:
    """One of pydantic's errors in our words: `burst.frames: must be at most 16, got 99`."""
    loc: tuple[int | str, ...] = error["loc"]
    parts = [part for part in loc if part != "[key]"]
    path = ".".join(f"{part}" for part in parts)
    if shape := _shape(parts, error):
        return f"{path}: must be {shape}, got {_given(error)}"
    if error["type"] == "extra_forbidden":
        return unknown(path, _keys(model, parts[:-1]))
    if error["type"] == "missing":
        return f"{path} is missing: add '{parts[-1]}:'"
    if error["type"] == "literal_error" and loc[-1] == "[key]":
        return unknown(path, list(event.HAZARDS))
    message = str(error["msg"])
    message = re.sub(r"^Value error, ", "", message)
    message = re.sub(r"^(Input|Tuple|Dictionary|List|String|Value) should ", "must ", message)
    message = message[0].lower() + message[1:]
    path = f"{path}: " if path else ""
    if "url" in parts or "detect_url" in parts or ", got " in message or error["type"] == "value_error":
        return f"{path}{message}"
    return f"{path}{message}, got {shown(error['input'])}"


def _shape(parts: list[int | str], error: Any) -> str:
    """The required shape of masks and zones, for errors about their shape."""
    if parts and parts[0] == "zones" and "polygon" not in parts and error["type"] in _MISSHAPEN:
        return "as in zones: [{name: {en: …, ko: …}, polygon: [[x, y], …]}]"
    if parts and (parts[0] == "masks" or "polygon" in parts):
        return "polygons of 3 or more [x, y], each from 0 to 1 of the frame"
    return ""


def _given(error: Any) -> str:
    if error["type"] == "missing":
        return "nothing"
    return "an unknown key" if error["type"] == "extra_forbidden" else shown(error["input"])


def shown(value: object) -> str:
    """A value for an error message: shortened, and for a URL that was put into another key only its scheme."""
    scheme = SCHEME.search(str(value))
    return f"'{scheme[1]}://…'" if scheme else f"{value!r:.60}"


def _keys(model: type[BaseModel], path: list[int | str]) -> list[str]:
    for part in path:
        kind = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return []
        model = kind
    return list(model.model_fields)


def unknown(path: str, known: list[str]) -> str:
    """The message for an unknown key, with the key that may be meant."""
    key = path.rpartition(".")[2]
    near = difflib.get_close_matches(key, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
    return f"unknown key {shown(path)}: {hint}"
