"""The texts of one file in the format of Project Fluent, put together with their values; `say` calls it.

The library `fluent.syntax` reads them, each text when it is first wanted: a caption needs a tenth of the file. What
formats them is here, since `fluent.runtime` imports Babel, which would double the start of a function; tests compare
the two. Numbers are written as plain digits, and there are no dates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from functions.catalogue.particles import attach
from functions.catalogue.plurals import category_of

if TYPE_CHECKING:
    from fluent.syntax import ast

    Part = ast.TextElement | ast.Placeable | ast.InlineExpression | ast.SelectExpression

# A text begins at the start of a line with its name; what belongs to it is indented, or is a closing brace.
_BEGINNING = re.compile(r"^(-?[A-Za-z][A-Za-z0-9_-]*) *=", re.MULTILINE)


class Messages:
    """The texts of one language."""

    def __init__(self, language: str, source: str) -> None:
        """Find where each text is; none is read yet."""
        self.language = language
        found = [*_BEGINNING.finditer(source)]
        ends = [match.start() for match in found[1:]] + [len(source)]
        self._sources = {match[1]: source[match.start() : end] for match, end in zip(found, ends, strict=True)}
        self._read: dict[str, Mapping[str, ast.Pattern]] = {}

    def format(self, name: str, attribute: str, values: Mapping[str, object]) -> str | None:
        """A text, or the attribute of one; None where this language has none.

        Raises:
            ValueError: it cannot be read, or names a value that was not given.
        """
        pattern = self._patterns(name).get(attribute)
        return None if pattern is None else self._join(pattern, values, name)

    def _patterns(self, name: str) -> Mapping[str, ast.Pattern]:
        """The text itself, as "", and its attributes."""
        if name not in self._sources:
            return {}
        if name not in self._read:
            from fluent.syntax import FluentParser, ast

            entry = FluentParser(with_spans=False).parse_entry(self._sources[name])
            if not isinstance(entry, ast.Message | ast.Term):
                raise ValueError(f"{self.language}.ftl: {name} cannot be read: {self._sources[name][:80]!r}")
            own = {} if entry.value is None else {"": entry.value}
            self._read[name] = own | {one.id.name: one.value for one in entry.attributes}
        return self._read[name]

    def _join(self, pattern: ast.Pattern, values: Mapping[str, object], name: str) -> str:
        return "".join(str(self._evaluate(element, values, name)) for element in pattern.elements)

    def _evaluate(self, part: Part, values: Mapping[str, object], name: str) -> object:
        from fluent.syntax import ast

        found: object = None
        match part:
            case ast.TextElement() | ast.NumberLiteral():
                found = part.value
            case ast.StringLiteral():
                found = part.parse()["value"]
            case ast.Placeable():
                found = self._evaluate(part.expression, values, name)
            case ast.VariableReference():
                found = values.get(part.id.name)
            case ast.SelectExpression():
                found = self._join(self._choose(part, values, name).value, values, name)
            case ast.MessageReference() | ast.TermReference():
                dash = "-" if isinstance(part, ast.TermReference) else ""
                found = self.format(f"{dash}{part.id.name}", part.attribute.name if part.attribute else "", values)
            case ast.FunctionReference(id=ast.Identifier(name="PARTICLE"), arguments=given):
                noun = str(self._evaluate(given.positional[0], values, name))
                found = attach(noun, given.named[0].value.value)
        if found is None:
            used = getattr(getattr(part, "id", part), "name", part)
            raise ValueError(f"{self.language}.ftl: {name} names {used}, which it is not given")
        return found

    def _choose(self, select: ast.SelectExpression, values: Mapping[str, object], name: str) -> ast.Variant:
        """The variant of that number or name, or of the number's plural category, or else the default."""
        from fluent.syntax import ast

        by = self._evaluate(select.selector, values, name)
        keys = {v.key.value if isinstance(v.key, ast.NumberLiteral) else v.key.name: v for v in select.variants}
        default = next(variant for variant in select.variants if variant.default)
        if str(by) in keys or not isinstance(by, int) or len(keys) < 2:
            return keys.get(str(by), default)
        return keys.get(category_of(self.language, by), default)
