"""`bongsu trace`, `db`, `snapshots`, `key` and `feedback`: operators' commands for database, pictures and API."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from api import settings as environment
from functions.event import Stage
from functions.settings import SettingsError
from web.keys import ROLES, Role, new_key

if TYPE_CHECKING:
    from api.feedback import Exported
    from store.records import Incident, Post, Sighting


@click.command()
@click.argument("event_id", metavar="EVENT_ID")
def trace(event_id: str) -> int:
    """Print where an event spent its time.

    Each stage has its queued and working seconds; the id is in the logs as event_id.
    """
    from store import StoreError

    try:
        found = asyncio.run(_look_up(event_id))
    except (SettingsError, StoreError) as error:
        print(f"bongsu trace: {error}", file=sys.stderr)
        return 1
    if not found:
        print(f"bongsu trace: no event {event_id!r} was recorded in this database", file=sys.stderr)
        return 1
    print("\n\n".join(describe(sighting, posts) for sighting, posts in found))
    return 0


def describe(sighting: Sighting, posts: Sequence[Post]) -> str:
    """One sighting as lines of text: a headline, and a table of its stages in order of completion."""
    at = sighting.captured_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    lines = [
        f"{sighting.hazard} {sighting.event_id}, incident {sighting.incident_id}, captured {at}",
        f"{'stage':<23} {'queued s':>10} {'working s':>10} {'since capture s':>16}",
    ]
    for name, stage, came_at in sorted(_legs(sighting, posts), key=lambda leg: leg[1].done_at):
        queued_s = (stage.got_at - came_at).total_seconds()
        working_s = (stage.done_at - stage.got_at).total_seconds()
        since_s = (stage.done_at - sighting.captured_at).total_seconds()
        lines.append(f"{name:<23} {queued_s:>10.3f} {working_s:>10.3f} {since_s:>16.3f}")
    return "\n".join(lines)


def _legs(sighting: Sighting, posts: Sequence[Post]) -> list[tuple[str, Stage, datetime]]:
    """Every stage with the time at which its input was published; after the detector the path forks."""
    legs = []
    came_at = sighting.captured_at
    for stage in sighting.trace:
        legs.append((stage.name, stage, came_at))
        came_at = stage.done_at
    came_at = sighting.captured_at
    for stage in sighting.caption_trace:
        if stage not in sighting.trace:
            legs.append((f"{stage.name} (captioned)" if stage.name == "map" else stage.name, stage, came_at))
        came_at = stage.done_at
    captioned_at = next((s.done_at for s in sighting.caption_trace if s.name == "caption"), sighting.captured_at)
    for post in posts:
        stage = Stage("post", post.claimed_at, post.posted_at)
        legs.append((f"post ({post.channel})", stage, captioned_at))
    return legs


@click.group()
def db() -> None:
    """Create or upgrade the database of BONGSU_DATABASE_URL."""


@db.command()
def upgrade() -> int:
    """Create its tables, or bring them to this version's schema; safe to repeat."""
    from store import StoreError
    from store.database import Database

    try:
        before, now = asyncio.run(Database.upgrade(environment.load().database_url))
    except (SettingsError, StoreError) as error:
        print(f"bongsu db: {error}", file=sys.stderr)
        return 1
    if before is None:
        print(f"created the tables, step {now}")
    else:
        print(f"the tables are at step {now} already" if before == now else f"upgraded the tables: {before} -> {now}")
    return 0


@click.group()
def snapshots() -> None:
    """Delete old pictures of BONGSU_SNAPSHOT_URL."""


@snapshots.command("prune")
@click.option("--days", type=float, help="Keep this long (BONGSU_SNAPSHOT_KEEP_DAYS; 0: without limit).")
@click.option("--gb", type=float, help="Keep at most this much (BONGSU_SNAPSHOT_KEEP_GB; 0: without limit).")
@click.option("--rehearse", is_flag=True, help="Delete nothing, only report what would be deleted.")
def snapshots_prune(days: float | None, gb: float | None, rehearse: bool) -> int:
    """Delete old pictures now; the map API does so every hour."""
    from api.retention import prune
    from store.snapshots import SnapshotError, Snapshots

    given = {"snapshot_keep_days": days, "snapshot_keep_gb": gb}
    try:
        settings = environment.load()
        settings = msgspec.structs.replace(
            settings, **{name: value for name, value in given.items() if value is not None}
        )
        done = asyncio.run(prune(Snapshots.open(settings.snapshot_url), settings, is_rehearsal=rehearse))
    except (ValueError, SnapshotError) as error:
        print(f"bongsu snapshots: {error}", file=sys.stderr)
        return 1
    verb = "would delete" if rehearse else "deleted"
    freed_mb, kept_mb = done.freed_bytes / 1e6, done.kept_bytes / 1e6
    print(f"{verb} {done.deleted} pictures ({freed_mb:,.1f} MB), kept {done.kept} ({kept_mb:,.1f} MB)")
    return 0


@click.group()
def key() -> None:
    """Make keys of the map API and of Web Push."""


@key.command("new")
@click.argument("name")
@click.option(
    "--role",
    required=True,
    type=click.Choice(ROLES),
    help="A viewer reads; an operator reviews too; a node sends clips.",
)
def key_new(name: str, role: Role) -> int:
    """Print a new key once, and the line to add to the key file.

    NAME is the key's owner: 1 to 64 letters, digits, dots or dashes. The line goes to stdout, the key itself only to
    stderr.
    """
    try:
        text, made = new_key(name, role)
    except ValueError as error:
        print(f"bongsu key: {error}", file=sys.stderr)
        return 1
    print(f"The key, shown this once: {text}\nAdd this line to the file of BONGSU_API_KEYS:", file=sys.stderr)
    sys.stderr.flush()
    print(f"{made.name} {made.role} {made.digest}")
    return 0


@key.command("push")
def key_push() -> int:
    """Print a new key pair for warnings by Web Push, as two lines for the environment.

    The first is secret and for the function `push` alone. A new pair ends all subscriptions: a browser is bound to the
    key it subscribed with, and subscribes again when its page is next opened.
    """
    from functions.push_keys import new_key as new_push_key

    try:
        private, public = new_push_key()
    except ImportError as error:
        print(f"bongsu key: {error}: pip install 'bongsu[push]'", file=sys.stderr)
        return 1
    print(f"BONGSU_PUSH_KEY={private}\nBONGSU_PUSH_PUBLIC_KEY={public}")
    return 0


@click.group()
def feedback() -> None:
    """Export operators' reviews of incidents."""


@feedback.command("export")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--since", metavar="TIME", help="Only reviews from then on, such as 2026-11-22T05:03:00Z.")
def feedback_export(folder: Path, since: str | None) -> int:
    """Write reviewed incidents to FOLDER, new or empty: pictures and labels in YOLO's format."""
    from api.feedback import ExportError
    from api.filters import named, parse_time
    from store import StoreError
    from store.snapshots import SnapshotError

    try:
        done = asyncio.run(_export(folder, named("--since", parse_time, since)))
    except (ValueError, ExportError, SnapshotError, StoreError) as error:
        print(f"bongsu feedback: {error}", file=sys.stderr)
        return 1
    print(
        f"wrote {done.positives} positives and {done.negatives} negatives to {folder}; "
        f"left out {done.gone} whose picture is no longer kept, {done.unclear} whose labels are unclear"
    )
    return 0


@feedback.command("verdicts")
@click.option("--since", metavar="TIME", required=True, help="Only incidents that began then or later.")
def feedback_verdicts(since: str) -> int:
    """Print a line of JSON for each reviewed incident: camera, hazard, first_seen, verdict."""
    from api.filters import named, parse_time
    from store import StoreError

    try:
        at = named("--since", parse_time, since)
        assert at is not None
        for incident in asyncio.run(_verdicts(at)):
            verdict = incident.review.verdict if incident.review is not None else ""
            line = {"camera": incident.camera, "hazard": incident.hazard, "verdict": verdict}
            print(json.dumps({**line, "first_seen": incident.first_seen.isoformat()}))
    except (ValueError, StoreError) as error:
        print(f"bongsu feedback: {error}", file=sys.stderr)
        return 1
    return 0


async def _verdicts(since: datetime) -> Sequence[Incident]:
    from store import Store

    store = await Store.open(environment.load().database_url)
    try:
        return await store.reviews.of_incidents(since)
    finally:
        await store.close()


async def _export(folder: Path, since: datetime | None) -> Exported:
    from api.feedback import export
    from store import Store
    from store.snapshots import Snapshots

    settings = environment.load()
    store = await Store.open(settings.database_url)
    try:
        return await export(store, Snapshots.open(settings.snapshot_url), folder, since)
    finally:
        await store.close()


async def _look_up(event_id: str) -> list[tuple[Sighting, list[Post]]]:
    from store import Store

    store = await Store.open(environment.load().database_url)
    try:
        return [
            (
                sighting,
                [post for post in await store.posts.of_incident(sighting.incident_id) if post.event_id == event_id],
            )
            for sighting in await store.sightings.of_event(event_id)
        ]
    finally:
        await store.close()
