"""The versions of models that a node keeps, and the one in use.

`models/NAME/DIGEST/` has links to `blobs/sha256/`, so that a file in two versions is stored once; the symbolic link
`models/NAME/current` is the version in use.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from edge.node.checks import check_architecture, verify_signatures
from edge.node.messages import DIGEST, FILE, HOME, NAME, Refused, checked, lock, write
from edge.node.transfer import BLOBS, fetch_all, hash_file

SUMS = "SHA256SUMS"
"""The checksums with which models/registry.py checks weights before it loads them."""
_MODELS = HOME / "models"
_PART_DAYS = 7


def list_models(request: dict[str, Any]) -> dict[str, Any]:
    """The versions in use, and those that are kept."""
    models = []
    for link in sorted(_MODELS.glob("**/current")):
        folder = link.parent
        models.append(
            {
                "name": str(folder.relative_to(_MODELS)),
                "digest": f"sha256:{link.readlink()}",
                "version": _version(folder / link.readlink()),
                "kept": [f"sha256:{d}" for d in _kept(folder)],
            }
        )
    return {"models": models}


def deploy(request: dict[str, Any]) -> dict[str, Any]:
    """Fetch a version, check it, and activate it atomically; previous versions stay for a rollback."""
    digest, name = checked(request["digest"], DIGEST), checked(request["name"], NAME)
    content = base64.b64decode(request["manifest"])
    if hashlib.sha256(content).hexdigest() != digest[7:]:
        raise Refused(f"the manifest is not {digest[:19]}…: it was altered in transfer")
    if request["require_signature"]:
        verify_signatures(request["signatures"], digest, request["trusted"])
    manifest = json.loads(content)
    check_architecture(manifest)
    folder = _MODELS / name
    target = folder / digest[7:]
    with lock():
        moved = 0
        if not _is_whole(target, manifest["layers"]):
            shutil.rmtree(target, ignore_errors=True)
            moved = fetch_all(manifest["layers"], request.get("source"))
            _assemble(manifest["layers"], content, target)
        before = _current(folder)
        _switch(folder, digest[7:], _kept(folder))
        removed = _prune(folder, max(1, int(request["keep"])))
    return {"digest": digest, "before": before and f"sha256:{before}", "moved_bytes": moved, "removed": removed}


def roll_back(request: dict[str, Any]) -> dict[str, Any]:
    """Activate the previous version again."""
    folder = _MODELS / checked(request["name"], NAME)
    with lock():
        current = _current(folder)
        earlier = [d for d in _kept(folder) if d != current]
        if current is None or not earlier:
            raise Refused(f"no earlier version of {request['name']} is kept here: deploy one by its version")
        target = earlier[-1]
        # The current one moves to the end of the order, so that a second rollback goes further back, not forward again.
        _switch(folder, target, [current, *earlier])
    return {"digest": f"sha256:{target}", "before": f"sha256:{current}", "version": _version(folder / target)}


def _is_whole(target: Path, layers: list[dict[str, Any]]) -> bool:
    """Whether a version is here, complete and unaltered."""
    return all(
        (target / name).is_file() and hash_file(target / name) == digest for name, digest in _files(layers).items()
    )


def _assemble(layers: list[dict[str, Any]], content: bytes, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=target.parent, prefix=".new-"))
    try:
        files = _files(layers)
        for name, digest in files.items():
            os.link(BLOBS / digest, made / name)
        (made / SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in files.items()))
        (made / ".manifest.json").write_bytes(content)
        made.replace(target)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def _files(layers: list[dict[str, Any]]) -> dict[str, str]:
    """The sha256 of each file by its name."""
    files = {checked(layer["annotations"]["org.cncf.model.filepath"], FILE): layer["digest"][7:] for layer in layers}
    files.pop(SUMS, None)  # written here, not transferred
    return files


def _switch(folder: Path, digest: str, kept: list[str]) -> None:
    """Point `current` at this version atomically."""
    write(folder / ".history", json.dumps([*(d for d in kept if d != digest), digest]).encode())
    new = folder / ".current.new"
    new.unlink(missing_ok=True)
    new.symlink_to(digest)
    new.replace(folder / "current")


def _prune(folder: Path, keep: int) -> list[str]:
    """Delete all but the newest versions, and blobs that no version uses."""
    kept = _kept(folder)
    gone = kept[:-keep]
    for digest in gone:
        shutil.rmtree(folder / digest)
    for stray in folder.glob(".new-*"):
        shutil.rmtree(stray)
    write(folder / ".history", json.dumps(kept[-keep:]).encode())
    for blob in BLOBS.glob("*"):
        status = blob.stat()
        is_old = time.time() - status.st_mtime > _PART_DAYS * 86400
        if is_old if blob.suffix == ".part" else status.st_nlink == 1:
            blob.unlink()
    return [f"sha256:{d}" for d in gone]


def _current(folder: Path) -> str | None:
    link = folder / "current"
    return str(link.readlink()) if link.is_symlink() else None


def _kept(folder: Path) -> list[str]:
    """The digests that are here, in the order of their activation."""
    try:
        known = [str(d) for d in json.loads((folder / ".history").read_text())]
    except (OSError, ValueError):
        known = []
    return [d for d in known if len(d) == 64 and (folder / d).is_dir()]


def _version(folder: Path) -> str:
    try:
        annotations = json.loads((folder / ".manifest.json").read_text())["annotations"]
    except (OSError, ValueError, KeyError):
        return ""
    return str(annotations.get("org.opencontainers.image.version", ""))
