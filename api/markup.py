"""XML that is always well-formed, whatever a camera is called; `atom.py` and `cap.py` write with it."""

from __future__ import annotations

import re
from xml.etree import ElementTree

# What XML 1.0 has no way to say, not even escaped.
_UNSAYABLE = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Element = ElementTree.Element


def add(parent: Element, name: str, text: str | None = None, **attributes: str) -> Element:
    """Append an element with text and attributes, both escaped as they are written."""
    kept = {key: clean(value) for key, value in attributes.items()}
    element = ElementTree.SubElement(parent, name, kept)
    if text is not None:
        element.text = clean(text)
    return element


def clean(text: str) -> str:
    """A text without the characters that XML cannot hold."""
    return _UNSAYABLE.sub("", text)


def render(root: Element) -> bytes:
    """The document, in UTF-8 with its declaration."""
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written
