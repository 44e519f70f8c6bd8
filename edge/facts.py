"""What a machine reports about itself when it is asked; values are limited, because the node may be compromised."""

from __future__ import annotations

from typing import Annotated

import msgspec

_Word = Annotated[str, msgspec.Meta(max_length=200)]
_Count = Annotated[int, msgspec.Meta(ge=0)]


class Facts(msgspec.Struct, frozen=True, omit_defaults=True):
    """Facts that a machine reports about itself; values are limited, because the node may be compromised."""

    architecture: _Word
    cpus: _Count
    memory_bytes: _Count
    disk_bytes: _Count
    disk_free_bytes: _Count
    system: _Word = ""
    kernel: _Word = ""
    python: _Word = ""
    openssl: _Word = ""
    gpu: _Word = ""
    container_runtime: _Word = ""


class NodeModel(msgspec.Struct, frozen=True):
    """A machine's report about one model: the version in use, and the digests that it keeps."""

    name: _Word
    digest: _Word
    version: _Word
    kept: list[_Word]


class NodeModels(msgspec.Struct, frozen=True):
    """A machine's report about all models."""

    models: list[NodeModel]
