"""A folder in the OCI image layout as a registry, the embedded default; oras, skopeo and crane can read it too."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec

from edge.errors import FleetError
from edge.oci.manifest import (
    INDEX_TYPE,
    MANIFEST_TYPE,
    Descriptor,
    check_digest,
    decode_manifest,
    digest_of,
    digest_of_file,
    is_digest,
)
from edge.oci.registry import OnBytes
from edge.state_file import locked, write_private

_REF = "org.opencontainers.image.ref.name"
_CHUNK_BYTES = 1 << 18


class _Index(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    schema_version: int = 2
    media_type: str = INDEX_TYPE
    manifests: list[Descriptor] = []


class LayoutRegistry:
    """One folder for all models, so that blobs shared by versions are stored once.

    A manifest is named `NAME:TAG` in `index.json`, which the specification allows; one process writes at a time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.address = str(folder)

    async def names(self) -> list[str]:
        return sorted({name for name, _, _ in self._entries()})

    async def tags(self, name: str) -> list[str]:
        return sorted(tag for n, tag, _ in self._entries() if n == name and tag)

    async def resolve(self, name: str, reference: str) -> Descriptor | None:
        for n, tag, entry in self._entries():
            if n == name and reference in (tag, entry.digest):
                return Descriptor(media_type=entry.media_type, digest=entry.digest, size=entry.size)
        return None

    async def read_manifest(self, name: str, reference: str) -> bytes:
        found = await self.resolve(name, reference)
        if found is None:
            raise FleetError(f"no model {name}:{reference} in {self.address}: bongsu models list shows them")
        content = self._read(found.digest)
        if digest_of(content) != found.digest:
            raise FleetError(f"{self._blob(found.digest)} was altered: it does not match its digest; push it again")
        return content

    async def put_manifest(self, name: str, reference: str, content: bytes) -> str:
        digest = digest_of(content)
        await self.put_blob(name, digest, content)
        tag = "" if is_digest(reference) else reference
        entry = Descriptor(
            media_type=MANIFEST_TYPE, digest=digest, size=len(content), annotations={_REF: f"{name}:{tag}"}
        )
        manifest = decode_manifest(content)
        with self._writing():
            for blob in (manifest.config, *manifest.layers):
                if not self._blob(blob.digest).is_file():
                    raise FleetError(
                        f"{name}:{reference} refers to {blob.digest}, which is not in {self.address}: push again"
                    )
            others = [e for n, t, e in self._entries() if (n, t) != (name, tag) or (not tag and e.digest != digest)]
            self._write_index([*others, entry])
        return digest

    async def has_blob(self, name: str, digest: str) -> bool:
        return self._blob(digest).is_file()

    async def put_blob(self, name: str, digest: str, source: Path | bytes, on_bytes: OnBytes | None = None) -> None:
        if not await self.has_blob(name, digest):
            with self._writing():
                await asyncio.to_thread(self._store, digest, source)
        if on_bytes is not None:
            on_bytes(len(source) if isinstance(source, bytes) else source.stat().st_size)

    async def read_blob(self, name: str, digest: str, offset: int = 0) -> AsyncIterator[bytes]:
        try:
            with self._blob(digest).open("rb") as file:
                file.seek(offset)
                while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
                    yield chunk
        except OSError as error:
            raise FleetError(f"{self._blob(digest)}: {error.strerror}: push the model again") from None

    async def delete_manifest(self, name: str, digest: str) -> None:
        with self._writing():
            self._write_index([e for n, _, e in self._entries() if (n, e.digest) != (name, digest)])

    async def collect_garbage(self) -> int | None:
        with self._writing():
            return await asyncio.to_thread(self._sweep)

    async def close(self) -> None:
        """Does nothing: nothing is open between calls."""

    def _sweep(self) -> int:
        kept: set[str] = set()
        for _, _, entry in self._entries():
            manifest = decode_manifest(self._read(entry.digest))
            kept |= {entry.digest, manifest.config.digest, *(layer.digest for layer in manifest.layers)}
        freed = 0
        for blob in (self._folder / "blobs/sha256").glob("*"):
            if f"sha256:{blob.name}" not in kept:
                freed += blob.stat().st_size
                blob.unlink()
        return freed

    def _store(self, digest: str, source: Path | bytes) -> None:
        target = self._blob(digest)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".incoming-")
        try:
            with os.fdopen(handle, "wb") as file:
                if isinstance(source, bytes):
                    file.write(source)
                else:
                    with source.open("rb") as given:
                        shutil.copyfileobj(given, file, _CHUNK_BYTES)
                file.flush()
                os.fsync(file.fileno())
            if digest_of_file(Path(temporary))[0] != digest:
                raise FleetError(f"{source if isinstance(source, Path) else 'content'} changed while it was pushed")
            Path(temporary).replace(target)
        except OSError as error:
            raise FleetError(f"cannot write to {self.address}: {error.strerror}") from None
        finally:
            with contextlib.suppress(FileNotFoundError):
                Path(temporary).unlink()

    def _read(self, digest: str) -> bytes:
        try:
            return self._blob(digest).read_bytes()
        except OSError as error:
            raise FleetError(f"{self._blob(digest)}: {error.strerror}: push the model again") from None

    def _blob(self, digest: str) -> Path:
        return self._folder / "blobs/sha256" / check_digest(digest).removeprefix("sha256:")

    def _entries(self) -> list[tuple[str, str, Descriptor]]:
        """Name, tag and entry of each manifest that has a name in our form."""
        found = []
        for entry in self._index().manifests:
            name, separator, tag = entry.annotations.get(_REF, "").rpartition(":")
            if separator:
                found.append((name, tag, entry))
        return found

    def _index(self) -> _Index:
        path = self._folder / "index.json"
        if not path.exists():
            return _Index()
        try:
            return msgspec.json.decode(path.read_bytes(), type=_Index)
        except (msgspec.MsgspecError, OSError) as error:
            raise FleetError(
                f"{path} is not an OCI index ({error}): name another folder in BONGSU_MODEL_REGISTRY"
            ) from None

    def _write_index(self, ours: list[Descriptor]) -> None:
        foreign = [e for e in self._index().manifests if ":" not in e.annotations.get(_REF, "")]
        content = msgspec.json.encode(_Index(manifests=[*foreign, *ours]), order="deterministic")
        write_private(self._folder / "index.json", content)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        (self._folder / "blobs/sha256").mkdir(parents=True, exist_ok=True)
        with locked(self._folder / "index.json"):
            marker = self._folder / "oci-layout"
            if not marker.exists():
                write_private(marker, b'{"imageLayoutVersion":"1.0.0"}')
            yield
