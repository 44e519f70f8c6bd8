"""A model as an OCI artefact, in the format of the CNCF ModelPack specification: what `models push` and `pull` move."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge.card import CARD_FILE, WEIGHTS_SUFFIXES, ModelCard, check_card, check_file_name, read_card, write_card
from edge.errors import FleetError
from edge.oci.manifest import (
    MANIFEST_TYPE,
    Descriptor,
    Manifest,
    decode_manifest,
    digest_of,
    digest_of_file,
    encode_manifest,
)
from edge.oci.registry import OnBytes, Registry

ARTEFACT_TYPE = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE = "application/vnd.cncf.model.config.v1+json"
WEIGHTS_TYPE = "application/vnd.cncf.model.weight.v1.raw"
CARD_TYPE = "application/vnd.cncf.model.weight.config.v1.raw"
DOC_TYPE = "application/vnd.cncf.model.doc.v1.raw"
FILE_PATH = "org.cncf.model.filepath"
TITLE = "org.opencontainers.image.title"
ARCHITECTURES = "org.bongsu.model.architectures"
TASK = "org.bongsu.model.task"
WEIGHTS = "org.bongsu.model.weights"
_VERSION = "org.opencontainers.image.version"
_MAX_CARD_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a model in a registry.

    Attributes:
        name: repository.
        digest: of its manifest; deployment and signatures refer to it.
        content: the manifest's bytes.
        manifest: the decoded manifest.
        card: its model card.
    """

    name: str
    digest: str
    content: bytes
    manifest: Manifest
    card: ModelCard

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(layer.size for layer in self.manifest.layers)


async def push(
    registry: Registry, card: ModelCard, files: list[Path], on_bytes: OnBytes | None = None
) -> tuple[str, int]:
    """Store a version; blobs that the registry has already are not sent again.

    Args:
        registry: the target.
        card: its model card.
        files: its files, the weights first.
        on_bytes: called with each number of bytes that are done.

    Returns:
        The manifest's digest, and the bytes of all files.

    Raises:
        FleetError: the version exists with other content, or the registry fails.
    """
    check_card(card, CARD_FILE)
    layers = []
    for file in files:
        digest, size = digest_of_file(file)
        layers.append(_layer(_media_type(file.name), digest, size, file.name))
    described = write_card(card)
    layers.append(_layer(CARD_TYPE, digest_of(described), len(described), CARD_FILE))
    config = _config(card, layers)
    content = encode_manifest(_manifest(card, config, layers))
    before = await registry.resolve(card.name, card.version)
    if before is not None and before.digest != digest_of(content):
        raise FleetError(
            f"{card.name}:{card.version} exists with other content ({before.digest[:19]}…): versions never change, so "
            "push it under a new one, or delete that one first"
        )
    for file, layer in zip(files, layers, strict=False):
        await registry.put_blob(card.name, layer.digest, file, on_bytes)
    await registry.put_blob(card.name, layers[-1].digest, described, on_bytes)
    await registry.put_blob(card.name, digest_of(config), config)
    digest = await registry.put_manifest(card.name, card.version, content)
    return digest, sum(layer.size for layer in layers)


async def read_version(registry: Registry, name: str, reference: str) -> Version:
    """Read the version of a tag or digest.

    Raises:
        FleetError: there is none, or it was not pushed by bongsu.
    """
    content = await registry.read_manifest(name, reference)
    manifest = decode_manifest(content)
    where = f"{name}:{reference}"
    described = next((layer for layer in manifest.layers if layer.annotations.get(FILE_PATH) == CARD_FILE), None)
    if manifest.artifact_type != ARTEFACT_TYPE or described is None or described.size > _MAX_CARD_BYTES:
        raise FleetError(f"{where} is not a model pushed by bongsu: its artefact type is {manifest.artifact_type!r}")
    for layer in manifest.layers:
        check_file_name(layer.annotations.get(FILE_PATH, ""), where)
    card = b"".join([chunk async for chunk in registry.read_blob(name, described.digest)])
    if digest_of(card) != described.digest:
        raise FleetError(f"{where}: {CARD_FILE} was altered in {registry.address}: push the version again")
    return Version(name, digest_of(content), content, manifest, read_card(card, f"{where}: {CARD_FILE}"))


async def pull(registry: Registry, version: Version, folder: Path, on_bytes: OnBytes | None = None) -> None:
    """Write the files of a version into a folder; existing files stay, and partial ones are completed.

    Raises:
        FleetError: a file differs from the manifest, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for layer in version.manifest.layers:
            await _pull_file(registry, version.name, layer, folder, on_bytes)
    except OSError as error:
        raise FleetError(f"cannot write to {folder}: {error.strerror}") from None


async def _pull_file(registry: Registry, name: str, layer: Descriptor, folder: Path, on_bytes: OnBytes | None) -> None:
    target = folder / layer.annotations[FILE_PATH]
    on_bytes = on_bytes or (lambda _: None)
    if target.is_file() and digest_of_file(target)[0] == layer.digest:
        on_bytes(layer.size)
        return
    part = target.with_name(f".{target.name}.{layer.digest[7:19]}.part")
    digest = hashlib.sha256()
    with part.open("ab+") as file:
        file.seek(0)
        while chunk := file.read(1 << 20):
            digest.update(chunk)
        on_bytes(offset := file.tell())
        if offset < layer.size:
            async for chunk in registry.read_blob(name, layer.digest, offset):
                file.write(chunk)
                digest.update(chunk)
                on_bytes(len(chunk))
    if f"sha256:{digest.hexdigest()}" != layer.digest:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
        raise FleetError(
            f"{target.name} from {registry.address} differs from its manifest: it was altered or truncated"
        )
    part.replace(target)


def _layer(media_type: str, digest: str, size: int, name: str) -> Descriptor:
    return Descriptor(media_type=media_type, digest=digest, size=size, annotations={FILE_PATH: name, TITLE: name})


def _media_type(name: str) -> str:
    return WEIGHTS_TYPE if name.endswith(WEIGHTS_SUFFIXES) else DOC_TYPE


def _config(card: ModelCard, layers: list[Descriptor]) -> bytes:
    """The configuration that ModelPack requires, for tools that do not read our card."""
    described = {
        "descriptor": {
            "name": card.name,
            "version": card.version,
            **({"description": card.description} if card.description else {}),
            **({"licenses": [card.licence]} if card.licence else {}),
            **({"vendor": card.owner} if card.owner else {}),
        },
        "config": {"format": card.weights.rpartition(".")[2]},
        "modelfs": {"type": "layers", "diffIds": [layer.digest for layer in layers]},
    }
    return msgspec.json.encode(described, order="deterministic")


def _manifest(card: ModelCard, config: bytes, layers: list[Descriptor]) -> Manifest:
    facts = {
        TITLE: card.name,
        _VERSION: card.version,
        TASK: card.task,
        WEIGHTS: card.weights,
        ARCHITECTURES: ",".join(card.architectures),
    }
    if card.licence:
        facts["org.opencontainers.image.licenses"] = card.licence
    return Manifest(
        schema_version=2,
        media_type=MANIFEST_TYPE,
        artifact_type=ARTEFACT_TYPE,
        config=Descriptor(media_type=CONFIG_TYPE, digest=digest_of(config), size=len(config)),
        layers=layers,
        annotations=facts,
    )
