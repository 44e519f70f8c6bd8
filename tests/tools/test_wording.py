import re
from pathlib import Path

import pytest

from tools import wording

TABLE = wording.Table.read(wording.TABLE.read_text())


def words_of(name: str, text: str) -> list[tuple[int, str]]:
    return [(found.line, found.word) for found in wording.find_words(Path(name), text, TABLE.words)]


def test_python_prose_and_names_are_read() -> None:
    text = '''"""A folder is
no file."""
told = 1  # whoever calls
print(f"{told} is told", "for ever")
'''
    assert words_of("a.py", text) == [
        (1, "is no"),
        (3, "told"),
        (3, "whoever"),
        (4, "for ever"),
        (4, "told"),
    ]


def test_comment_over_two_lines_is_one_sentence() -> None:
    assert words_of("a.py", "# It lasts for\n# ever.\n") == [(1, "for ever")]


def test_phrase_is_not_found_across_code() -> None:
    assert words_of("a.py", 'a = "what is"  # no\nb = 1  # it is\nc = 2  # no one\n') == []


@pytest.mark.parametrize("text", ["There is no camera.", "It is no longer there.", "recommended", "untold"])
def test_ordinary_sentences_pass(text: str) -> None:
    assert words_of("a.md", text) == []


@pytest.mark.parametrize("name", ["a.yaml", "a.sh", "Makefile"])
def test_only_comments_of_other_files_are_read(name: str) -> None:
    assert words_of(name, "told: 1 # told\nb: '#told'\n") == [(1, "told")]


def test_test_names_are_left_alone() -> None:
    assert words_of("test_a.py", "def test_user_is_told() -> None: ...\n") == []


def test_markdown_wraps_but_for_tables_code_and_links() -> None:
    long = "word " * 30
    text = f"{long}\n| {long} |\n```\n{long}\n```\n[a link](https://example.org/{'x' * 120})\n"
    assert [(found.line, found.word) for found in wording.find_long_lines(text)] == [(1, "150 columns")]


def test_a_clean_file_leaves_the_ratchet(tmp_path: Path) -> None:
    (tmp_path / "dirty.md").write_text("He was told.\n")
    (tmp_path / "clean.md").write_text("He was informed.\n")
    table = wording.Table(TABLE.words, frozenset(), frozenset({"dirty.md", "clean.md"}), frozenset())
    complaints, uncleaned, _ = wording.check(tmp_path, ["clean.md", "dirty.md"], table)
    assert (complaints, uncleaned) == ([], {"dirty.md"})
    written = wording.write_ratchet(wording.TABLE.read_text(), uncleaned, [])
    assert wording.Table.read(written).uncleaned == {"dirty.md"}


def test_a_listed_file_is_named_with_line_word_and_hint(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("One.\nStart anew.\n")
    complaints, _, _ = wording.check(tmp_path, ["a.md"], TABLE)
    assert complaints == ["a.md:2: anew: write 'again' or 'from the start'"]


def test_a_bad_pattern_is_refused() -> None:
    with pytest.raises(re.error):
        wording.Table.read("words = [{pattern = '(', hint = ''}]")


def test_long_test_name_is_found_at_its_line() -> None:
    name = "test_" + "a" * 56
    text = f"x = 1\n\n\nasync def {name}() -> None: ...\n\n\ndef {name[:-1]}() -> None: ...\n"
    assert [(found.line, found.word) for found in wording.find_long_test_names(text)] == [(4, name)]
