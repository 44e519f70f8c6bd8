from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from local.process import output
from local.process.output import Output


async def follow(log: Output, *lines: str) -> str:
    reader = asyncio.StreamReader(limit=2**24)
    reader.feed_data("".join(f"{line}\n" for line in lines).encode())
    reader.feed_eof()
    return await log.follow("post", reader)


def entry(level: str, event: str, **facts: object) -> str:
    return json.dumps({"service": "post", "event": event, "level": level, "timestamp": "x", **facts})


async def test_all_is_kept_in_the_file_and_only_warnings_are_shown(tmp_path: Path) -> None:
    shown: list[str] = []
    lines = [entry("info", "event_handled"), entry("warning", "event_retried", reason="feed is away", attempt=2)]
    await follow(Output(tmp_path, shown.append), *lines)
    assert (tmp_path / "post.log").read_text().splitlines() == lines
    assert [line.partition("  ")[2] for line in shown] == [
        "post     warning: event retried  reason=feed is away  attempt=2"
    ]


async def test_same_warning_is_not_repeated_all_day(tmp_path: Path) -> None:
    shown: list[str] = []
    await follow(Output(tmp_path, shown.append), *[entry("warning", "event_retried")] * 500)
    assert len(shown) == 1


async def test_what_a_process_died_of_is_its_last_plain_line(tmp_path: Path) -> None:
    log = Output(tmp_path, lambda _: None)
    died_of = await follow(log, "Traceback …", "ValueError: no such luck", "", entry("info", "function_stopped"))
    assert died_of == "ValueError: no such luck"


async def test_exception_is_shown_by_its_last_line(tmp_path: Path) -> None:
    shown: list[str] = []
    await follow(Output(tmp_path, shown.append), entry("error", "event_rejected", exception="Traceback\n  x\nOops: y"))
    assert shown[0].endswith("error: event rejected    Oops: y")


@pytest.mark.parametrize("odd", [entry("warning", "post_failed", exception=""), '{"a":' * 100_000])
async def test_no_line_of_a_child_ends_the_reading_of_its_output(tmp_path: Path, odd: str) -> None:
    shown: list[str] = []
    await follow(Output(tmp_path, shown.append), odd, entry("error", "event_rejected", reason="no snapshot"))
    assert shown[-1].endswith("error: event rejected  reason=no snapshot")


async def test_file_stays_bounded_even_if_a_line_never_ends(tmp_path: Path) -> None:
    log = Output(tmp_path, lambda _: None)
    for _ in range(8):
        await follow(log, "x" * 1_000_000)
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) <= 2
    assert sum(sizes) < 2 * (output._FILE_BYTES + 100_000)


async def test_full_disk_is_said_and_stops_nothing(tmp_path: Path) -> None:
    shown: list[str] = []
    (tmp_path / "post.log").mkdir()
    died_of = await follow(Output(tmp_path, shown.append), "one", "two")
    assert died_of == "two"
    assert len(shown) == 1
    assert "cannot be written" in shown[0]


async def test_bytes_that_are_no_text_and_json_that_is_no_log_are_kept(tmp_path: Path) -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(b'\xff\xfe\n{"a": 1}\n{broken\n[1]\n')
    reader.feed_eof()
    assert await Output(tmp_path, lambda _: None).follow("post", reader) == "[1]"
