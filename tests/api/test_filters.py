"""What a reader asks for is understood, or refused in one line that names the value and the fix."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.filters import (
    BadQueryError,
    named,
    parse_bbox,
    parse_cursor,
    parse_hazards,
    parse_id,
    parse_limit,
    parse_revision,
    parse_statuses,
    parse_time,
    show_cursor,
)
from functions import HAZARDS
from store.records import Position

PARSERS = (
    *(parse_hazards, parse_bbox, parse_limit, parse_id, parse_statuses, parse_cursor),
    *(parse_time, parse_revision),
)


def test_nothing_asked_is_everything():
    assert parse_hazards(None) == parse_hazards("") == list(HAZARDS) and parse_statuses("") == []
    assert parse_time(None) is parse_bbox("") is parse_revision(None) is None
    assert parse_limit(None) == 200


def test_queries_are_understood():
    assert parse_hazards("gun, fire") == parse_hazards(["gun", "fire"]) == ["fire", "gun"]
    assert parse_bbox(["126.7", "37.4", "127.2", "37.7"]) == (126.7, 37.4, 127.2, 37.7)
    assert parse_bbox("126.7,37.4,127.2,37.7") == (126.7, 37.4, 127.2, 37.7)
    assert parse_limit("1000") == 1000
    assert parse_revision("0") == 0


@pytest.mark.parametrize(
    "text",
    ["2026-11-22T05:03:00Z", "2026-11-22T05:03:00", "2026-11-22T14:03:00+09:00", "2026-11-22T14:03:00 09:00"],
)
def test_times_are_utc_unless_they_say_otherwise(text):
    assert parse_time(text) == datetime(2026, 11, 22, 5, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("parse", "text", "fix"),
    [
        (parse_hazards, "smoke", "accident, fire, gun, knife"), (parse_time, "yesterday", "ISO 8601"),
        (parse_statuses, "gone", "open, closed, acknowledged, false_alarm"), (parse_cursor, "MTIz", "previous page"),
        (parse_cursor, "%%%", "previous page"), (parse_cursor, "OTk5OTk5OTk5OTk5OTk5OTk5LjE", "previous page"),
        (parse_bbox, "1,2,3", "west,south,east,north"), (parse_bbox, "0,50,10,40", "west,south,east,north"),
        (parse_bbox, "nan,0,0,0", "degrees"), (parse_limit, "0", "from 1 to 1000"), (parse_limit, "1e9", "1000"),
        (parse_id, "1.5", "whole number"), (parse_id, "٣" * 30, "whole number"),
    ],
)  # fmt: skip
def test_refusal_names_the_value_and_the_fix(parse, text, fix):
    with pytest.raises(BadQueryError, match=fix) as refusal:
        parse(text)
    assert repr(text) in str(refusal.value) and "\n" not in str(refusal.value)
    with pytest.raises(BadQueryError, match=r"^until must be "):
        named("until", parse, text)


@given(st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)), st.integers(1, 10**18 - 1))
def test_cursor_is_the_position_that_it_was_made_of(at, number):
    assert parse_cursor(show_cursor(Position(at, number))) == Position(at, number)


@given(st.text(max_size=100))
def test_any_text_is_understood_or_refused(text):
    for parse in PARSERS:
        try:
            parse(text)
        except BadQueryError as refusal:
            assert len(str(refusal)) < 250
