"""Lists the people in training pictures, so that a run crops pictures around them and arms them.

python -m detect.training.people CORPUS [CORPUS ...] --out people.json
make train DATA=CORPUS ARGS='--people people.json' with a recipe such as {"people": 0.3, "armed": 0.2}

The scene network finds them, as it does for the detector's third look (`detect/people.py`).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from detect.people import people_in
from detect.training.corpus import CorpusError, read_corpus, read_image
from functions import Box
from models.network import SCENE, Network
from models.registry import ModelError

People = Mapping[str, Sequence[Box]]
"""The people in each picture, by its file name, largest first."""


def main() -> None:
    """Write the list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+", help="corpora whose training splits are used")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, required=True, help="the .json file for `detect.training.train --people`")
    chosen = parser.parse_args()
    try:
        samples = [s for folder in chosen.data for s in read_corpus(folder) if s.split == "train"]
        network = Network(SCENE, device=chosen.device)
        people = {s.path.name: people_in(network.detect([read_image(s)])[0]) for s in samples}
    except (CorpusError, ModelError) as error:
        parser.error(str(error))
    chosen.out.write_bytes(msgspec.json.encode({name: each for name, each in people.items() if each}))
    print(f"{sum(map(len, people.values()))} people in {sum(map(bool, people.values()))} of {len(samples)} pictures")


def read_people(path: Path) -> People:
    """Read the list that this module wrote.

    Raises:
        CorpusError: the file is not such a list.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, list[Box]])
    except (OSError, msgspec.DecodeError) as error:
        raise CorpusError(
            f"{path} is not a list of people ({error}): `python -m detect.training.people` writes one"
        ) from None


if __name__ == "__main__":
    main()
