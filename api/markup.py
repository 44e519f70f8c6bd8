"""Writes well-formed XML, whatever a camera's name contains; `atom.py` and `cap.py` use it."""

from __future__ import annotations

import re
from xml.etree import ElementTree

# Characters that XML 1.0 does not allow, even escaped.
_UNSAYABLE = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Element = ElementTree.Element


def add(parent: Element, name: str, text: str | None = None, **attributes: str) -> Element:
    """Append an element with text and attributes; both are escaped when the document is written."""
    kept = {key: clean(value) for key, value in attributes.items()}
    element = ElementTree.SubElement(parent, name, kept)
    if text is not None:
        element.text = clean(text)
    return element


def clean(text: str) -> str:
    """A text without the characters that XML does not allow."""
    return _UNSAYABLE.sub("", text)


def render(root: Element) -> bytes:
    """The document in UTF-8, with its declaration."""
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written
