"""Refuses words that hide the meaning of a sentence, long lines in Markdown and long test names; `make lint` runs it.

It reads comments, docstrings, messages and identifiers of Python, Markdown, and comments of shell, YAML, TOML and
Makefiles. `wording.toml` holds the words and the files that are not cleaned yet; `--shrink` takes clean ones out of it.
"""

from __future__ import annotations

import io
import keyword
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLE = Path(__file__).with_suffix(".toml")
WIDTH = 120
NAME_MAX = 60
_HASH_COMMENTS = {".sh", ".yaml", ".yml", ".toml", ".mk"}
_HASH_NAMES = {"Makefile", "Dockerfile"}
_LINK_TARGET = re.compile(r"\]\([^)]*\)|<?https?://\S+")
_CODE = "\0"
"""Stands for each character of code, so that no phrase is found across it."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word or phrase that is refused."""

    pattern: re.Pattern[str]
    parts: frozenset[str]
    """Words that no identifier may contain."""
    hint: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A refused word or a long line."""

    line: int
    word: str
    hint: str


@dataclass(frozen=True, slots=True)
class Table:
    """The content of `wording.toml`."""

    words: Sequence[Word]
    exempt: frozenset[str]
    uncleaned: frozenset[str]
    """Files that may still hold refused words."""
    unwrapped: frozenset[str]
    """Markdown files that may still hold long lines."""

    @classmethod
    def read(cls, text: str) -> Table:
        """Read the table.

        Raises:
            KeyError: a part is missing.
            re.error: a pattern is not a regular expression.
        """
        table = tomllib.loads(text)
        words = [
            Word(re.compile(entry["pattern"], re.IGNORECASE), frozenset(entry.get("parts", ())), entry["hint"])
            for entry in table["words"]
        ]
        ratchet = table["ratchet"]
        return cls(words, frozenset(table["files"]["exempt"]), frozenset(ratchet["words"]), frozenset(ratchet["width"]))


def find_words(path: Path, text: str, words: Sequence[Word]) -> list[Finding]:
    """Refused words in what people read of a file, by line."""
    found = []
    prose = read_prose(path, text)
    for word in words:
        for match in word.pattern.finditer(prose):
            line = prose.count("\n", 0, match.start()) + 1
            found.append(Finding(line, " ".join(match.group().split()), word.hint))
    if path.suffix == ".py":
        found += _find_identifiers(text, words)
    return sorted(set(found), key=lambda finding: (finding.line, finding.word))


def find_long_lines(text: str) -> list[Finding]:
    """Markdown lines over 120 columns; tables, fenced code and the targets of links do not count."""
    found, is_code = [], False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("```"):
            is_code = not is_code
        columns = len(_LINK_TARGET.sub("", line))
        if not is_code and columns > WIDTH and not line.lstrip().startswith("|"):
            found.append(Finding(number, f"{columns} columns", f"wrap at {WIDTH}"))
    return found


def find_long_test_names(text: str) -> list[Finding]:
    """Names of tests with more than 60 characters: a name that long tells the test's steps, not the behaviour."""
    found = re.finditer(r"^\s*(?:async )?def (test_\w{56,})\(", text, re.MULTILINE)
    hint = f"name the behaviour in at most {NAME_MAX} characters"
    return [Finding(text.count("\n", 0, match.start(1)) + 1, match[1], hint) for match in found]


def read_prose(path: Path, text: str) -> str:
    """The text with code blanked out and comment signs removed; every line and column stays in place."""
    if path.suffix == ".py":
        return _python_prose(text)
    if path.suffix in _HASH_COMMENTS or path.name in _HASH_NAMES:
        return "\n".join(map(_hash_prose, text.split("\n")))
    return text if path.suffix == ".md" else ""


def _hash_prose(line: str) -> str:
    found = re.search(r"(?:^|\s)#", line)
    if found is None:
        return _blank(line)
    return f"{_blank(line[: found.end() - 1])} {line[found.end() :]}"


def _python_prose(text: str) -> str:
    lines = text.split("\n")
    shown = [list(_blank(line)) for line in lines]
    prose = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in prose:
            continue
        (first, start), (last, end) = token.start, token.end
        for row in range(first, last + 1):
            line = lines[row - 1]
            span = slice(start if row == first else 0, end if row == last else len(line))
            shown[row - 1][span] = line[span]
        if token.type == tokenize.COMMENT:
            shown[first - 1][start] = " "
    return "\n".join(map("".join, shown))


def _blank(code: str) -> str:
    return re.sub(r"\S", _CODE, code)


def _find_identifiers(text: str, words: Sequence[Word]) -> Iterator[Finding]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        # A test is named for its behaviour; its name is not checked here.
        if token.type != tokenize.NAME or keyword.iskeyword(token.string) or token.string.startswith("test_"):
            continue
        parts = {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", token.string)}
        for word in words:
            if parts & word.parts:
                yield Finding(token.start[0], token.string, word.hint)


def list_files(root: Path) -> list[str]:
    """Files that git tracks or would add, in order."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    return [name for name in sorted(set(listed.split("\0"))) if name and (root / name).is_file()]


def check(root: Path, paths: Sequence[str], table: Table) -> tuple[list[str], set[str], set[str]]:
    """Complaints as `path:line: word: hint`, and the ratchet's paths that are still needed (words, width)."""
    complaints: list[str] = []
    uncleaned: set[str] = set()
    unwrapped: set[str] = set()
    for name in paths:
        path = root / name
        if name in table.exempt or not _is_read(path):
            continue
        text = path.read_text()
        for found, allowed, needed in (
            (find_words(path, text, table.words), table.uncleaned, uncleaned),
            (find_long_lines(text) if path.suffix == ".md" else [], table.unwrapped, unwrapped),
            (find_long_test_names(text) if path.suffix == ".py" else [], frozenset[str](), unwrapped),
        ):
            if found and name in allowed:
                needed.add(name)
            else:
                complaints += [f"{name}:{finding.line}: {finding.word}: {finding.hint}" for finding in found]
    return complaints, uncleaned, unwrapped


def _is_read(path: Path) -> bool:
    return path.suffix in {".py", ".md", *_HASH_COMMENTS} or path.name in _HASH_NAMES


def write_ratchet(text: str, uncleaned: Iterable[str], unwrapped: Iterable[str]) -> str:
    """The table's text with these paths as its ratchet."""
    lists = (("words", uncleaned), ("width", unwrapped))
    lines = [f"{name} = [\n{_list(paths)}]\n" for name, paths in lists]
    return text.partition("[ratchet]\n")[0] + "[ratchet]\n" + "".join(lines)


def _list(paths: Iterable[str]) -> str:
    return "".join(f'    "{path}",\n' for path in sorted(paths))


def main(arguments: Sequence[str]) -> int:
    """Check the repository's files; 1 where something is to be changed."""
    text = TABLE.read_text()
    table = Table.read(text)
    complaints, uncleaned, unwrapped = check(ROOT, list_files(ROOT), table)
    clean = (table.uncleaned - uncleaned) | (table.unwrapped - unwrapped)
    if clean and "--shrink" in arguments:
        TABLE.write_text(write_ratchet(text, uncleaned, unwrapped))
    else:
        hint = "is clean: run `python tools/wording.py --shrink`"
        complaints += [f"tools/wording.toml: {name} {hint}" for name in sorted(clean)]
    print("\n".join(complaints) or "Wording: nothing to change")
    return int(bool(complaints))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
