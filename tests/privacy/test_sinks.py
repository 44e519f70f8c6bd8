"""Only privacy/redact.py creates a `Redacted`, and sinks accept nothing else: checked in the code and at run time."""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from functions import Caption
from functions.settings import Secret
from notify.channels import ChannelContext
from notify.channels.mastodon import Mastodon, MastodonSettings
from notify.channels.webhook import describe
from notify.channels.x import X, XSettings
from privacy import redact
from privacy.redact import Redacted, read_back, require_redacted
from tests.rooms import ROOMS

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
MAKER = ROOT / "privacy/redact.py"
# Modules that may treat a picture as public without having redacted or drawn it; reasons in docs/privacy.md.
TRUSTED = {
    "read_back": {"store/snapshots.py"},
    "redacted_of": {"notify/map.py", "notify/post.py", "notify/push.py"},
    "thumbnail_of": {"notify/map.py", "notify/push.py"},
    "shrink": {"notify/caption.py"},
    "redact": {"notify/caption.py", "privacy/preview.py"},
    "seal_drawing": {"notify/captions/location.py"},
    "drawn_of": {"notify/post.py"},
    "redact_video": {"notify/clips.py"},
    "read_back_video": {"store/public_clips.py"},
}


@dataclass(frozen=True)
class Alike:
    """Looks like a `Redacted` but is not one."""

    jpeg: bytes


def names_called(tree: ast.AST) -> set[str]:
    called = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "") for func in called}


def test_there_is_code_to_look_at():
    assert MAKER in MODULES and len(MODULES) > 50


@pytest.mark.parametrize("path", [p for p in MODULES if p != MAKER], ids=lambda p: str(p.relative_to(ROOT)))
def test_nobody_else_makes_a_redacted_picture(path):
    """Not by its name, an alias, a subclass, a copy with other bytes, or the seal."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = names_called(tree)
    assert "Redacted" not in called
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            for alias in node.names:
                assert alias.name != "_SEAL"
                assert alias.asname is None or "redact" not in f"{getattr(node, 'module', '')}.{alias.name}".lower()
                # Names of the module are imported one by one, so that they can be followed.
                assert alias.name != "privacy.redact"
        if isinstance(node, ast.Attribute):
            assert node.attr != "_SEAL"
        if isinstance(node, ast.ClassDef):
            assert "Redacted" not in {ast.unparse(base).rpartition(".")[2] for base in node.bases}
        if isinstance(node, ast.Assign):
            assert ast.unparse(node.value) != "Redacted"
    for maker, users in TRUSTED.items():
        assert maker not in called or str(path.relative_to(ROOT)) in users, f"{maker} is called here"
    text = path.read_text(encoding="utf-8")
    if "Redacted" in text:
        assert not {"__new__", "__setattr__", "_replace"} & called, "a Redacted could be made behind its constructor"
        assert "dataclasses.replace" not in text
        assert "replace" not in {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module == "dataclasses"
            for alias in node.names
        }


def test_its_maker_seals_in_four_places_only():
    tree = ast.parse(MAKER.read_text(encoding="utf-8"))
    sealed = {
        function.name
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Redacted"
    }
    assert sealed == {"redact", "shrink", "_carried", "read_back"}


def test_redacted_videos_are_sealed_in_two_places_only():
    tree = ast.parse((ROOT / "privacy/video.py").read_text(encoding="utf-8"))
    sealed = {
        function.name
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "RedactedVideo"
    }
    assert sealed == {"redact_video", "read_back_video"}
    for path in MODULES:
        if path != ROOT / "privacy/video.py":
            assert "RedactedVideo" not in names_called(ast.parse(path.read_text(encoding="utf-8")))


def test_redacted_picture_cannot_be_forged(street):
    picture = read_back(street)
    # Frozen with slots, a dataclass refuses with TypeError where others raise AttributeError.
    with pytest.raises((AttributeError, TypeError)):
        picture.jpeg = b"face"
    with pytest.raises((TypeError, ValueError)):
        replace(picture, jpeg=b"face")
    with pytest.raises(TypeError, match="redact"):
        Redacted(b"face", object())


@pytest.mark.parametrize("fake", [b"\xff\xd8", Alike(b"\xff\xd8"), "picture", 5])
def test_whatever_is_alike_is_refused(fake):
    with pytest.raises(TypeError, match="Redacted"):
        require_redacted(fake)


def test_subclass_is_refused(street):
    class Mine(Redacted):
        """A subclass created correctly, whose `jpeg` could change later."""

    with pytest.raises(TypeError, match="Mine"):
        require_redacted(Mine(street, redact._SEAL))


async def test_every_sink_refuses_what_is_alike(snapshots, street):
    text = Caption(en="Fire.", ko="화재.")
    alike = Alike(street)
    with pytest.raises(TypeError, match="Alike"):
        await snapshots.put(alike)
    settings, context = MastodonSettings(Secret("https://social.example.org"), Secret("token")), ChannelContext(("en",))
    with pytest.raises(TypeError, match="Alike"):
        await Mastodon(settings, context)._upload(alike, text)
    with pytest.raises(TypeError, match="Alike"):
        await X(XSettings(*map(Secret, "abcd")), context)._upload(alike, text)
    await context.close()
    with pytest.raises(TypeError, match="Alike"):
        describe(None, text, alike, "key")
