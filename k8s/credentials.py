"""`make secrets ENV=local`: makes passwords and keys once, and writes the files that an overlay turns into Secrets.

What is random is in `secrets/passwords.env` and nowhere else decided: change it there, run this again. Files that hold
what only you know (cameras, buckets) are copied once and then yours; `--check` names those that are still the example.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets
import sys
from pathlib import Path

# As functions/signature.py spells them: this file needs no package of ours, so that it runs where none is installed.
PRIVATE, PUBLIC = "bongsu-caption-private-", "bongsu-caption-public-"
PUSH_PRIVATE, PUSH_PUBLIC = "bongsu-push-private-", "bongsu-push-public-"  # as functions/push_keys.py
OVERLAYS = Path(__file__).resolve().parent / "overlays"
_PASSWORD = re.compile(r"<(hash of )?([a-z0-9_]+)-password>")
_KEY = re.compile(r"<(private|public) (caption|push) key>")
_CAPTION_KEY = "caption_key"
"""The key that the captioner signs with. Readers accept it and every other key whose name begins like it."""
_PUSH_KEY = "push_key"
"""The key that warnings by Web Push are signed with. There is one: a browser is bound to the key it subscribed with."""
_BLANK = re.compile(r"<[^>\n]+>")


def write_secrets(folder: Path) -> list[Path]:
    """Write what is missing or made from passwords; the files written.

    Raises:
        ValueError: a password cannot be used in a URL.
    """
    passwords = _read_passwords(folder / "passwords.env")
    written = []
    for example in sorted(folder.glob("*.example")):
        text = example.read_text()
        path = example.with_suffix("")
        if _PASSWORD.search(text) or _KEY.search(text):
            text = _PASSWORD.sub(lambda match: _password(passwords, match), text)
            text = _KEY.sub(lambda match: _key(passwords, match), text)
        elif path.exists():
            continue
        if not path.exists() or path.read_text() != text:
            _write(path, text)
            written.append(path)
    _write(folder / "passwords.env", "".join(f"{name}={value}\n" for name, value in sorted(passwords.items())))
    return written


def problems(folder: Path) -> list[str]:
    """What keeps an overlay from being applied, a line each: files that are missing or not filled in."""
    found = []
    for example in sorted(folder.glob("*.example")):
        path = example.with_suffix("")
        if not path.exists():
            found.append(f"{_shown(path)} is missing: make secrets ENV={folder.parent.name}")
            continue
        # A comment may explain what goes where.
        lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
        blank = _BLANK.search("\n".join(lines))
        if blank is not None:
            found.append(f"{_shown(path)} is still the example: put your own value for {blank[0]}")
    return found


def hashed(password: str, salt: bytes) -> str:
    """As RabbitMQ's `rabbit_password_hashing_sha256` keeps it: base64 of salt, SHA-256 of salt and password."""
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _password(passwords: dict[str, str], match: re.Match[str]) -> str:
    value = passwords.setdefault(match[2], secrets.token_urlsafe(24))
    # The salt is made from the password, so that the same password gives the same file.
    return hashed(value, hashlib.sha256(b"bongsu" + value.encode()).digest()[:4]) if match[1] else value


def _key(passwords: dict[str, str], match: re.Match[str]) -> str:
    make = {"caption": _caption_key, "push": _push_key}[match[2]]
    return make(passwords, is_private=match[1] == "private")


def _caption_key(passwords: dict[str, str], *, is_private: bool) -> str:
    """The key that captions are signed with, or the public keys that readers accept."""
    own = passwords.setdefault(_CAPTION_KEY, secrets.token_urlsafe(32))
    if is_private:
        return f"{PRIVATE}{own}"
    names = sorted(name for name in passwords if name.startswith(_CAPTION_KEY))
    return ",".join(_public(name, passwords[name]) for name in names)


def _push_key(passwords: dict[str, str], *, is_private: bool) -> str:
    """The key that warnings are signed with, or its public half."""
    own = passwords.setdefault(_PUSH_KEY, secrets.token_urlsafe(32))
    if is_private:
        return f"{PUSH_PRIVATE}{own}"
    try:
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    except ImportError:
        raise ValueError("the key of push needs the package cryptography: pip install cryptography") from None
    # Any 32 bytes are a key, but for one in 2^32: that one cannot be used, and is refused here.
    key = ec.derive_private_key(int.from_bytes(_raw(_PUSH_KEY, own), "big"), ec.SECP256R1()).public_key()
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return f"{PUSH_PUBLIC}{base64.urlsafe_b64encode(point).decode().rstrip('=')}"


def _raw(name: str, key: str) -> bytes:
    raw = base64.urlsafe_b64decode(key + "=" * (-len(key) % 4))
    if len(raw) != 32:
        raise ValueError(f"passwords.env: {name}: must be 43 characters of base64: remove it, and one is made")
    return raw


def _public(name: str, key: str) -> str:
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError:
        raise ValueError("the captioner's key needs the package cryptography: pip install cryptography") from None
    public = Ed25519PrivateKey.from_private_bytes(_raw(name, key)).public_key().public_bytes_raw()
    return f"{PUBLIC}{base64.urlsafe_b64encode(public).decode().rstrip('=')}"


def _read_passwords(path: Path) -> dict[str, str]:
    passwords: dict[str, str] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        name, _, value = line.partition("=")
        if not re.fullmatch(r"[A-Za-z0-9_-]{12,}", value):
            raise ValueError(f"{path}: {name}: must be 12 or more letters, digits, _ and -: it is part of URLs")
        passwords[name] = value
    return passwords


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _shown(path: Path) -> str:
    return os.path.relpath(path)


def main(arguments: list[str]) -> int:
    """Write, or with `--check` only look; the exit status."""
    names = [a for a in arguments if not a.startswith("-")]
    known = sorted(path.parent.name for path in OVERLAYS.glob("*/secrets"))
    if len(names) != 1 or names[0] not in known:
        print(f"usage: credentials.py [--check] {'|'.join(known)}", file=sys.stderr)
        return 2
    folder = OVERLAYS / names[0] / "secrets"
    if "--check" not in arguments:
        try:
            for path in write_secrets(folder):
                print(f"wrote {_shown(path)}")
        except ValueError as error:
            print(error, file=sys.stderr)
            return 1
    found = problems(folder)
    for problem in found:
        print(problem, file=sys.stderr)
    return 1 if found and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
