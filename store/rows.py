"""Converts database rows to records, and traces to text and back; used by this package alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Row

from functions.event import Caption, Detection, Place, Stage
from store.queries import HELD
from store.records import Camera, Incident, Post, Review, Sighting


def read_incident(row: Row[Any], prefix: str = "") -> Incident:
    of = {name.removeprefix(prefix): value for name, value in row._mapping.items() if name.startswith(prefix)}
    return Incident(
        place=Place(lat=of["lat"], lon=of["lon"], name=of["place"], region=of["region"]),
        caption=read_text(of, "caption"),
        review=_read_review(of),
        reviewed_at=of["reviewed_at"],
        is_held=of["verdict"] == HELD,
        **{name: of[name] for name in _INCIDENT_FIELDS},
    )


_INCIDENT_FIELDS = (
    *("id", "camera", "hazard", "first_seen", "last_seen", "confidence", "sightings"),
    *("pin_s", "snapshot_key", "revision", "late"),
)


def _read_review(of: dict[str, Any]) -> Review | None:
    if of["verdict"] in ("", HELD):
        return None
    return Review(verdict=of["verdict"], by=of["reviewed_by"], at=of["reviewed_at"], note=of["review_note"])


def read_post(row: Row[Any]) -> Post:
    return Post(
        id=row.id,
        channel=row.channel,
        incident=read_incident(row, "of_"),
        event_id=row.claimed_by,
        claimed_at=row.claimed_at,
        posted_at=row.posted_at,
        text=read_text(row._asdict(), "text") or Caption("", ""),
        snapshot_key=row.snapshot_key,
        reference=row.reference,
        revision=row.revision,
        location_key=row.location_key,
    )


def read_camera(row: Row[Any]) -> Camera:
    place = Place(lat=row.lat, lon=row.lon, name=row.place, region=row.region)
    return Camera(
        id=row.id,
        place=place,
        status=row.status,
        changed_at=row.changed_at,
        revision=row.revision,
        snapshot_key=row.snapshot_key,
        snapshot_at=row.snapshot_at,
    )


def read_sighting(row: Row[Any]) -> Sighting:
    return Sighting(
        event_id=row.event_id,
        hazard=row.hazard,
        incident_id=row.incident_id,
        captured_at=row.captured_at,
        recorded_at=row.recorded_at,
        confidence=row.confidence,
        trace=decode_trace(row.trace),
        caption_trace=decode_trace(row.caption_trace or "[]"),
        detections=msgspec.json.decode(row.detections or "[]", type=tuple[Detection, ...]),
        snapshot_key=row.snapshot_key,
    )


def read_text(row: Mapping[str, Any], name: str) -> Caption | None:
    """The text of a row's columns `name_en`, `name_ko` and `name_others`; None before there is one."""
    if row[f"{name}_en"] is None:
        return None
    others = msgspec.json.decode(row[f"{name}_others"] or "{}", type=dict[str, str])
    return Caption(row[f"{name}_en"], row[f"{name}_ko"], others)


def text_columns(name: str, text: Caption) -> dict[str, str | None]:
    """The columns that `read_text` reads."""
    others = msgspec.json.encode(text.others).decode() if text.others else None
    return {f"{name}_en": text.en, f"{name}_ko": text.ko, f"{name}_others": others}


def encode_trace(trace: tuple[Stage, ...]) -> str:
    return msgspec.json.encode(trace).decode()


def encode_detections(detections: tuple[Detection, ...]) -> str:
    return msgspec.json.encode(detections).decode()


def decode_trace(text: str) -> tuple[Stage, ...]:
    return msgspec.json.decode(text, type=tuple[Stage, ...])
