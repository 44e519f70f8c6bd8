"""Every language has every text, with the same values; plurals follow each language's rules."""

from __future__ import annotations

import pytest
from fluent.syntax import FluentParser
from fluent.syntax import ast as syntax
from fluent.syntax.visitor import Visitor

from functions import catalogue
from functions.catalogue.messages import Messages
from functions.catalogue.particles import attach
from functions.catalogue.plurals import category_of
from functions.hazards import HAZARDS

LANGUAGES = catalogue.languages()


class Found(Visitor):
    """Names of values, and of plural categories that are chosen from, in one message."""

    def __init__(self) -> None:
        self.values: set[str] = set()
        self.variants: set[str] = set()

    def visit_VariableReference(self, node: syntax.VariableReference) -> None:  # noqa: N802 - as the library calls it
        self.values.add(node.id.name)

    def visit_Variant(self, node: syntax.Variant) -> None:  # noqa: N802
        # `[0]` is that very number, in every language.
        if isinstance(node.key, syntax.Identifier):
            self.variants.add(node.key.name)
        self.generic_visit(node)


def read(language: str) -> dict[str, Found]:
    """By key, and `key.attribute`."""
    path = catalogue.path_of(language)
    assert path is not None
    messages: dict[str, Found] = {}
    for entry in FluentParser().parse(path.read_text("utf-8")).body:
        assert not isinstance(entry, syntax.Junk), f"{path.name}: cannot be read: {entry.content!r}"
        if not isinstance(entry, syntax.Message):
            continue
        parts = {entry.id.name: entry.value} | {f"{entry.id.name}.{one.id.name}": one.value for one in entry.attributes}
        for key, pattern in parts.items():
            assert key not in messages, f"{path.name}: {key} is there twice"
            messages[key] = Found()
            messages[key].visit(pattern)
    return messages


# English and Korean words for hazards are in functions/hazards.py; those of other languages are these.
PARTS = ("", ".event", ".headline", ".subject", ".mention")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_every_text(language):
    wanted, found = set(read("en")), set(read(language))
    # A hazard that was added since the language is called by its English name; one that is there has all words.
    named = {hazard for hazard in HAZARDS if f"hazard-{hazard}" in found} if language not in catalogue.OWN else set()
    wanted |= {f"hazard-{hazard}{part}" for hazard in named for part in PARTS}
    assert not wanted - found, f"{language}.ftl lacks {sorted(wanted - found)}"
    assert not found - wanted, f"{language}.ftl has what en.ftl has not: {sorted(found - wanted)}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_use_the_values_that_the_english_ones_do(language):
    english = read("en")
    for key, found in read(language).items():
        if key in english:
            assert found.values == english[key].values, f"{language}.ftl: {key}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_plurals_name_categories_that_the_language_has(language):
    from babel import Locale

    known = {*Locale.parse(language).plural_form.tags, "other"}
    for key, found in read(language).items():
        assert found.variants <= known, f"{language}.ftl: {key} has {found.variants - known}, the language {known}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_read_as_the_reference_library_reads_them(language):
    from fluent.runtime import FluentBundle, FluentResource

    path = catalogue.path_of(language)
    assert path is not None
    functions = {"PARTICLE": lambda noun, *, pair: attach(str(noun), str(pair))}
    bundle = FluentBundle([language], functions=functions, use_isolating=False)
    bundle.add_resource(FluentResource(path.read_text("utf-8")))
    for key, found in read(language).items():
        name, _, attribute = key.partition(".")
        message = bundle.get_message(name)
        for n in (0, 1, 2, 5, 11, 21):
            values = {value: n if value == "n" else f"{value} 문 {n}" for value in found.values}
            expected, errors = bundle.format_pattern(
                message.attributes[attribute] if attribute else message.value, values
            )
            assert (catalogue.say(language, key, **values), errors) == (str(expected), [])


def test_plural_categories_are_those_of_cldr():
    from babel import Locale

    for language in ("en", "ko", "ja", "de", "fr", "pt", "pt-PT", "ru", "pl", "ar", "cy", "he", "lt", "xx"):
        rule = Locale.parse(language, sep="-").plural_form if language != "xx" else lambda n: "other"
        for n in (*range(125), 1_000, 1_000_000):
            assert category_of(language, n) == rule(n), (language, n)


def test_what_cannot_be_read_or_said_is_named():
    source = "good = Yes, { brand }\nbad = { $n\nbrand = Bongsu\n    .long = The { brand }\nneeds = { $n }\n"
    texts = Messages("xx", source)
    assert (texts.format("good", "", {}), texts.format("brand", "long", {})) == ("Yes, Bongsu", "The Bongsu")
    assert texts.format("none", "", {}) is texts.format("good", "none", {}) is None
    for name, why in (("bad", "bad cannot be read"), ("needs", "needs names n, which it is not given")):
        with pytest.raises(ValueError, match=f"xx.ftl: {why}"):
            texts.format(name, "", {})


def test_text_that_cannot_be_said_is_said_in_english(monkeypatch):
    monkeypatch.setattr(
        catalogue, "_messages", {"xx": Messages("xx", "count = { $m }"), "en": catalogue._messages("en")}.get
    )
    assert catalogue.say("xx", "count", n=2) == "2 alerts"


def test_plurals_follow_the_rules_of_the_language():
    for language, one, many in (
        ("en", "1 alert", "2 alerts"),
        ("ko", "1건", "2건"),
        ("ja", "1件の警報", "2件の警報"),
    ):
        assert [catalogue.say(language, "count", n=n) for n in (1, 2)] == [one, many]


def test_unknown_key_says_where_to_add_it():
    assert catalogue.say("ja", "hazard-fire.event") == "火災"
    with pytest.raises(KeyError, match=r"no text .nothing. in catalogue/ja.ftl or en.ftl: add it"):
        catalogue.say("ja", "nothing")


@pytest.mark.parametrize(
    ("accepted", "wanted"),
    [
        ("", "en"), ("ja", "ja"), ("ko-KR,ko;q=0.9,en;q=0.8", "ko"), ("fr, ja;q=0.2, ko;q=0.7", "ko"), ("*", "en"),
        ("en;q=0, ja", "ja"), ("ja;q=x", "en"), ("kok", "en"), ("a" * 9000, "en"),
    ],
)  # fmt: skip
def test_reader_gets_the_preferred_language_that_is_offered(accepted, wanted):
    assert catalogue.negotiate(accepted, ("en", "ko", "ja")) == wanted
