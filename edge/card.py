"""The model card, `model.yaml`: facts about a model besides its weights; its author writes it, every version has it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import yaml

from edge.errors import FleetError
from edge.oci.manifest import check_name, check_reference

CARD_FILE = "model.yaml"
SUMS_FILE = "SHA256SUMS"
"""This file is written when a version is unpacked."""
WEIGHTS_SUFFIXES = (".onnx", ".xml", ".bin", ".pt", ".engine", ".tflite", ".json")
ARCHITECTURES = ("amd64", "arm64", "arm", "riscv64", "any")

_Text = Annotated[str, msgspec.Meta(max_length=2000)]
_Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]


class ModelCard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The content of `model.yaml`.

    Attributes:
        name: repository in the registry.
        version: tag; ours are dates, such as 2026.11.1.
        task: `detect`, `reid`, `measure`: which program runs it.
        weights: the file that is loaded first.
        files: its other files; None: everything in the folder.
        labels: by class number.
        thresholds: minimum score by label.
        input_px: side of the network's input in pixels.
        architectures: Debian's names of the CPUs that it runs on.
        licence: SPDX expression.
        owner: the responsible person or team.
        description: one line.
        metrics: scores by name, such as `map50` or `recall.fire`; higher is better except in `lower_is_better`.
        lower_is_better: the metrics for which lower is better.
    """

    name: str
    version: str
    task: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{0,31}$")] = "detect"
    weights: str
    files: tuple[str, ...] | None = None
    labels: tuple[_Text, ...] = ()
    thresholds: dict[str, _Share] = {}
    input_px: Annotated[int, msgspec.Meta(gt=0, le=16384)] | None = None
    architectures: tuple[str, ...] = ("any",)
    licence: _Text | None = None
    owner: _Text | None = None
    description: _Text | None = None
    metrics: dict[str, float] = {}
    lower_is_better: tuple[str, ...] = ()


def read_card(content: bytes, where: str) -> ModelCard:
    """Read `model.yaml`.

    Args:
        content: its bytes.
        where: its name, for errors.

    Raises:
        FleetError: it is not YAML, or a value is missing, unknown or out of range.
    """
    try:
        card = msgspec.convert(yaml.safe_load(content), ModelCard)
    except (yaml.YAMLError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise FleetError(f"{where}: {' '.join(str(error).split())}") from None
    return check_card(card, where)


def write_card(card: ModelCard) -> bytes:
    """The card as `model.yaml`."""
    return yaml.safe_dump(msgspec.to_builtins(card), sort_keys=False, allow_unicode=True).encode()


def check_card(card: ModelCard, where: str) -> ModelCard:
    """Check a card, and return it.

    Raises:
        FleetError: its values contradict each other, or a label or architecture does not exist.
    """
    check_name(card.name)
    check_reference(card.version)
    if unknown := sorted(set(card.architectures) - set(ARCHITECTURES)):
        raise FleetError(f"{where}: architecture {unknown[0]!r} is not one of {', '.join(ARCHITECTURES)}")
    if card.labels and (strange := sorted(set(card.thresholds) - set(card.labels))):
        raise FleetError(f"{where}: a threshold is given for {strange[0]!r}, which is not one of the labels")
    for name in (card.weights, *(card.files or ())):
        check_file_name(name, where)
    return card


def check_file_name(name: str, where: str) -> str:
    """Check that a name is that of a file in the folder itself, and return it.

    Raises:
        FleetError: it is a path, or hidden.
    """
    if not name or name.startswith(".") or "/" in name or "\\" in name or "\0" in name or len(name) > 200:
        raise FleetError(
            f"{where}: a file must be in the model's own folder, its name without / and leading dot: {name!r}"
        )
    return name


def read_folder(folder: Path) -> tuple[ModelCard, list[Path]]:
    """The card of a folder and its files, the weights first.

    Raises:
        FleetError: there is no card, or a file that it names is missing.
    """
    path = folder / CARD_FILE
    try:
        card = read_card(path.read_bytes(), str(path))
    except OSError as error:
        raise FleetError(f"{path}: {error.strerror}: a model's folder holds {CARD_FILE} (docs/fleet.md)") from None
    names = card.files
    if names is None:
        found = [p.name for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith(".")]
        names = tuple(name for name in found if name != SUMS_FILE)
    files = [folder / name for name in dict.fromkeys((card.weights, *names)) if name != CARD_FILE]
    for file in files:
        if not file.is_file():
            raise FleetError(f"{path} names {file.name}, but there is no such file in {folder}")
    return card, files
