"""The plural rules of `functions/catalogue/plurals.json`, from CLDR by Babel; `tools/generate.py` writes the file."""

from __future__ import annotations

import json
import re
from collections import defaultdict

from babel import Locale, localedata, plural

_ORDER = ("zero", "one", "two", "few", "many", "other")
# gettext compiles whole numbers only; what is left of exponents and fractions is 0.
_EXPONENT = re.compile(r"\be\b")


def write_rules() -> str:
    """One entry for each rule: its languages, its categories, and a C expression for the number of the category."""
    languages = defaultdict(list)
    for name in sorted(localedata.locale_identifiers()):
        rule = Locale.parse(name).plural_form
        form = _form(rule)
        parent = name.partition("_")[0]
        if parent == name or _form(Locale.parse(parent).plural_form) != form:
            languages[form].append(name.replace("_", "-"))
    entries = [
        {"languages": " ".join(named), "categories": " ".join(categories), "rule": rule}
        for (categories, rule), named in languages.items()
    ]
    return json.dumps(sorted(entries, key=lambda entry: entry["languages"]), indent=1) + "\n"


def _form(rule: plural.PluralRule) -> tuple[tuple[str, ...], str]:
    _, _, expression = plural.to_gettext(rule).partition("plural=")
    used = {*rule.tags, "other"}
    return tuple(tag for tag in _ORDER if tag in used), _EXPONENT.sub("0", expression.rstrip(";"))
