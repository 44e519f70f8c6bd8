"""Takes over the streams of go2rtc's configuration: a camera for each, its sub-stream beside it."""

from __future__ import annotations

from pathlib import Path

from motion.edit import CamerasText
from motion.setup.credentials import Vault
from motion.setup.entries import Proposal, known_streams, same_stream, unused_id
from motion.setup.marked import Imported, ImportFileError, read_marked
from motion.setup.sources import SUB_ENDINGS, SourceError, Sources


def read_go2rtc(path: Path, text: CamerasText, vault: Vault) -> Imported:
    """Read go2rtc.yaml.

    Args:
        path: the file.
        text: the cameras that there are already.
        vault: takes the passwords of the URLs.

    Raises:
        ImportFileError: it cannot be read, or has no mapping `streams`.
    """
    file = read_marked(path)
    streams = file.data.get("streams")
    if not isinstance(streams, dict) or not streams:
        raise ImportFileError(f"{path}: has no 'streams:': give go2rtc's configuration")
    sources = Sources(streams, vault)
    known, taken = known_streams(text), {str(entry.get("id")) for entry in text.entries}
    subs = _subs([str(name) for name in streams])
    found = []
    for name in streams:
        if str(name) in subs.values():
            continue
        try:
            url = sources.named(str(name))
        except SourceError as error:
            file.leave_out(("streams", str(name)), str(error))
            continue
        if (there := known.get(same_stream(url))) is not None:
            file.leave_out(("streams", str(name)), f"is in the file already, as {there}")
            continue
        sub = None
        if str(name) in subs:
            try:
                sub = sources.named(subs[str(name)])
            except SourceError as error:
                file.leave_out(("streams", subs[str(name)]), str(error))
        found.append(Proposal(unused_id(_stem(str(name)), taken), url, sub))
        taken.add(found[-1].id)
        known[same_stream(url)] = found[-1].id
    file.leave_out_others((), ("streams",), {})
    return Imported(tuple(found), file.left_out)


def _subs(names: list[str]) -> dict[str, str]:
    """The name of the smaller stream by that of the larger: `gate_sub` goes with `gate` or `gate_main`."""
    found = {}
    for name in names:
        ending = next((e for e in SUB_ENDINGS if name.lower().endswith(e)), "")
        stem = name[: len(name) - len(ending)]
        main = next((other for other in names if ending and other != name and _stem(other) == stem), None)
        if main is not None and main not in found:
            found[main] = name
    return found


def _stem(name: str) -> str:
    return next((name[: -len(e)] for e in ("_main", "-main", "_hd", "_hq") if name.lower().endswith(e)), name)
