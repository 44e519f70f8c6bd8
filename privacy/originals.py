"""Unredacted frames for operators who need them: sealed for a key that no worker has; off unless configured.

The captioner stores the frame of each hazard here, encrypted for a public key (X25519, XSalsa20-Poly1305: libsodium's
sealed box). The holder of the private key decrypts them elsewhere with `bongsu originals decrypt`. No process of Bongsu
can, not even the captioner after it has sealed them; the API has no access to these files.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

import msgspec
import structlog
from msgspec import Struct
from prometheus_client import Counter

from functions.event import Frame, HazardSeen, utc_now
from functions.sealing import PRIVATE, PUBLIC, read_key
from functions.settings import Environment, SettingsError, read
from privacy.buckets import BucketError, delete_all, explain, is_within, open_bucket

if TYPE_CHECKING:
    from nacl.public import PublicKey, SealedBox
    from obstore.store import ObjectStore

log = structlog.get_logger()

originals_total = Counter("bongsu_originals_total", "Unredacted frames, by outcome", ["outcome"])

SUFFIX = ".sealed"
_MAGIC = b"bongsu original 1\n"
_NAME = re.compile(r"\d{4}-\d{2}-\d{2}/[\w-]+\.sealed", re.ASCII)
_PRUNED_EVERY_S = 3600.0
# As many as one bucket request can list and delete: one by one, those of a busy hour would take too long.
_DELETED_AT_ONCE = 1000
# The longest that storing an original may delay an alert.
_KEEP_S = 5.0


class OriginalsError(Exception):
    """Originals cannot be stored, read or pruned; the message says where and why."""


class Original(Struct, frozen=True):
    """Content of a sealed file."""

    event_id: str
    hazard: str
    camera: str
    captured_at: datetime
    jpeg: bytes


class Settings(Environment, frozen=True):
    """Sealed originals: only for the captioner; no other process should have these settings."""

    originals_url: str = ""
    """A folder, or an address that obstore opens; without it no originals are stored."""
    originals_key: str = ""
    """The public key that `bongsu originals keygen` printed."""
    originals_keep_days: float = 7.0
    """Days after which originals are deleted; keeping them without limit is not possible."""
    snapshot_url: str = "state/snapshots"
    """Address of the public pictures, which must be a different one."""

    def __post_init__(self) -> None:
        if not 0 < self.originals_keep_days <= 366:
            raise ValueError(
                f"BONGSU_ORIGINALS_KEEP_DAYS must be above 0 and at most 366, got {self.originals_keep_days}"
            )
        if self.originals_key.startswith(PRIVATE):
            raise ValueError(
                "BONGSU_ORIGINALS_KEY is a private key: set the public one, and keep this off every worker"
            )
        if bool(self.originals_url) != bool(self.originals_key):
            missing, given_one = ("KEY", "URL") if self.originals_url else ("URL", "KEY")
            raise ValueError(f"BONGSU_ORIGINALS_{missing} is missing, though BONGSU_ORIGINALS_{given_one} is set")
        if self.originals_url and is_within(self.originals_url, self.snapshot_url):
            raise ValueError("BONGSU_ORIGINALS_URL and BONGSU_SNAPSHOT_URL must not contain each other: one is public")


def load() -> Settings:
    """Read the settings from the environment.

    Raises:
        SettingsError: a value is invalid, or one is missing.
    """
    return read(Settings)


def import_nacl() -> Any:
    """PyNaCl's public-key part.

    Raises:
        SettingsError: it is not installed.
    """
    try:
        import nacl.public
    except ImportError as error:
        raise SettingsError(f"BONGSU_ORIGINALS_URL needs PyNaCl: pip install 'bongsu[originals]' ({error})") from None
    return nacl.public


@dataclass
class Originals:
    """The store of sealed originals: it can add and delete them, and cannot read them."""

    store: ObjectStore
    box: SealedBox[PublicKey]
    keep_days: float
    _pruned_at: float = field(default=float("-inf"), init=False)

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open the folder (created if missing, for its owner alone) or bucket of the settings.

        Raises:
            SettingsError: the key or the address cannot be used.
        """
        try:
            key = read_key(settings.originals_key, PUBLIC)
        except SettingsError as error:
            raise SettingsError(f"BONGSU_ORIGINALS_KEY: {error}") from None
        nacl = import_nacl()
        return cls(
            open_store(settings.originals_url), nacl.SealedBox(nacl.PublicKey(key)), settings.originals_keep_days
        )

    async def keep(self, event: HazardSeen) -> None:
        """Seal and store the frame of a hazard event. A failure is only logged and counted: the alert matters more.

        Idempotent for the same event.
        """
        if event.frame is None:
            return
        try:
            async with asyncio.timeout(_KEEP_S):
                sealed = await asyncio.to_thread(self._seal, event, event.frame)
                await self.store.put_async(_name_of(event), sealed)
            originals_total.labels("kept").inc()
        except _failures() as error:
            originals_total.labels("failed").inc()
            log.error("original_not_kept", event_id=event.id, reason=explain(error) or f"not done in {_KEEP_S:g} s")
            return
        if time.monotonic() - self._pruned_at > _PRUNED_EVERY_S:
            self._pruned_at = time.monotonic()
            await self._prune()

    async def _prune(self) -> None:
        try:
            async with asyncio.timeout(_KEEP_S):
                log.info("originals_pruned", deleted=await prune(self.store, self.keep_days))
        except _failures() as error:
            log.warning("originals_not_pruned", reason=explain(error) or f"not done in {_KEEP_S:g} s")

    def _seal(self, event: HazardSeen, frame: Frame) -> bytes:
        original = Original(event.id, event.hazard, event.camera, event.captured_at, frame.jpeg)
        return _MAGIC + bytes(self.box.encrypt(msgspec.msgpack.encode(original)))


def open_originals() -> Originals | None:
    """The store that the environment configures; None if it configures none, which is the default.

    Raises:
        SettingsError: a setting is invalid; the runtime reports it and exits.
    """
    settings = load()
    return Originals.open(settings) if settings.originals_url else None


def unseal(sealed: bytes, private_key: bytes) -> Original:
    """Decrypt one sealed file.

    Raises:
        OriginalsError: it is not a sealed original, was sealed for another key, or was altered.
    """
    from nacl.exceptions import CryptoError

    nacl = import_nacl()
    if not sealed.startswith(_MAGIC):
        raise OriginalsError("this is not a sealed original")
    try:
        plain = nacl.SealedBox(nacl.PrivateKey(private_key)).decrypt(sealed[len(_MAGIC) :])
        return msgspec.msgpack.decode(plain, type=Original)
    except (CryptoError, msgspec.DecodeError) as error:
        raise OriginalsError("it was sealed for another key, or altered since") from error


async def prune(store: ObjectStore, keep_days: float) -> int:
    """Delete originals written more than `keep_days` ago, and return their number. Other files stay.

    Raises:
        OriginalsError: they cannot be listed or deleted now.
    """
    since, deleted = utc_now() - timedelta(days=keep_days), 0
    try:
        async for batch in store.list(chunk_size=_DELETED_AT_ONCE):
            expired = [one["path"] for one in batch if _NAME.fullmatch(one["path"]) and one["last_modified"] < since]
            if expired:
                await delete_all(store, expired)
                deleted += len(expired)
    except _failures() as error:
        raise OriginalsError(f"originals cannot be pruned: {explain(error)}") from None
    return deleted


def open_store(url: str) -> ObjectStore:
    """Open a folder (created if missing, for its owner alone) or a bucket.

    Raises:
        SettingsError: it cannot be used.
    """
    try:
        return open_bucket(url, is_private=True)
    except BucketError as error:
        raise SettingsError(f"BONGSU_ORIGINALS_URL {error}") from None


def _name_of(event: HazardSeen) -> str:
    # An event's id comes from the wire and could contain path separators: use its digest.
    name = re.sub(r"[^\w-]", "_", f"{event.id}-{event.hazard}", flags=re.ASCII)
    return f"{event.captured_at:%Y-%m-%d}/{name}{SUFFIX}"


def _failures() -> tuple[type[Exception], ...]:
    from obstore.exceptions import BaseError

    return BaseError, OSError, OriginalsError
