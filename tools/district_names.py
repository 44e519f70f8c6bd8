"""Writes the name of each district into the page's offline base map, in Korean and English.

python -m tools.district_names

Run it when the outlines change (api/page/vendor/korea/README.md); a file that has its names is not changed.
"""

from __future__ import annotations

import json
import re

from notify.captions.districts import name_in_english
from notify.captions.location import OUTLINES


def main() -> None:
    """Write the names."""
    shapes = json.loads(OUTLINES.read_text("utf-8"))
    for feature in shapes["features"]:
        feature["properties"] = names_of(feature["properties"]["ko"])
    OUTLINES.write_text(json.dumps(shapes, ensure_ascii=False, separators=(",", ":")) + "\n", "utf-8")


def names_of(name: str) -> dict[str, str]:
    """Both names of a district, given the Korean one; some boundaries put the city before it, as in 수원시영통구."""
    ko = re.sub(r"^.+시(?=.+구$)", "", name)
    return {"ko": ko, "en": name_in_english(ko)}


if __name__ == "__main__":
    main()
