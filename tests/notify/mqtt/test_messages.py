"""Discovery as Home Assistant documents it, and what is retained of cameras and incidents."""

from __future__ import annotations

import json
from datetime import timedelta

import jsonschema
import pytest

from functions.event import HAZARDS, Caption, Place, utc_now
from notify.mqtt.messages import Site, View, compose, describe, discover, state_of
from notify.mqtt.topics import Topics, slug
from store.records import Camera, Incident, Review

SITE = Site(Topics("bongsu", "homeassistant"), 120.0, "https://map.example")
PLACE = Place(lat=37.5585, lon=126.9370, name="Sinchon Market", region="Seoul")

# The keys that the documentation lists, with their types: https://www.home-assistant.io/integrations/mqtt/
# (device discovery) and /integrations/{binary_sensor,image,sensor}.mqtt/. Its schemas refuse an unknown key of a
# device or an origin, and drop that of an entity without a word, so here both are refused.
TEXT, COUNT, FLAG = {"type": "string", "minLength": 1}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
TOPIC = {"type": "string", "pattern": "^[^#+\\x00]+$"}
AVAILABILITY = {
    "availability": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["topic"],
            "additionalProperties": False,
            "properties": {
                "topic": TOPIC, "payload_available": TEXT, "payload_not_available": TEXT, "value_template": TEXT,
            },
        },
    },
    "availability_mode": {"enum": ["all", "any", "latest"]},
}  # fmt: skip
ENTITY = {
    **AVAILABILITY,
    "unique_id": TEXT, "name": {"type": ["string", "null"]}, "icon": TEXT, "default_entity_id": TEXT,
    "enabled_by_default": FLAG, "entity_category": {"enum": ["config", "diagnostic"]}, "encoding": {"type": "string"},
    "qos": {"enum": [0, 1, 2]}, "json_attributes_topic": TOPIC, "json_attributes_template": TEXT,
    "entity_picture": TEXT,
}  # fmt: skip
STATE = {"state_topic": TOPIC, "value_template": TEXT, "expire_after": COUNT, "force_update": FLAG}
PLATFORMS = {
    "binary_sensor": {
        "required": ["state_topic"],
        "properties": {
            **STATE, "payload_on": TEXT, "payload_off": TEXT, "off_delay": COUNT,
            "device_class": {
                "enum": [
                    "battery", "battery_charging", "carbon_monoxide", "cold", "connectivity", "door", "garage_door",
                    "gas", "heat", "light", "lock", "moisture", "motion", "moving", "occupancy", "opening", "plug",
                    "power", "presence", "problem", "running", "safety", "smoke", "sound", "tamper", "update",
                    "vibration", "window",
                ],
            },
        },
    },
    "image": {
        "oneOf": [{"required": ["image_topic"]}, {"required": ["url_topic"]}],
        "properties": {
            "image_topic": TOPIC, "content_type": TEXT, "image_encoding": {"const": "b64"}, "url_topic": TOPIC,
            "url_template": TEXT,
        },
    },
    "sensor": {
        "required": ["state_topic"],
        "properties": {
            **STATE, "device_class": TEXT, "options": {"type": "array", "items": TEXT, "minItems": 1},
            "suggested_display_precision": COUNT, "unit_of_measurement": TEXT,
            "last_reset_value_template": TEXT, "state_class": TEXT,
        },
    },
}  # fmt: skip
DISCOVERY = {
    "type": "object",
    "required": ["device", "origin", "components"],
    "additionalProperties": False,
    "properties": {
        **AVAILABILITY,
        "state_topic": TOPIC, "command_topic": TOPIC, "qos": {"enum": [0, 1, 2]}, "encoding": TEXT,
        "device": {
            "type": "object",
            "anyOf": [{"required": ["identifiers"]}, {"required": ["connections"]}],
            "additionalProperties": False,
            "properties": {
                "identifiers": {"type": "array", "items": TEXT, "minItems": 1}, "connections": {"type": "array"},
                "configuration_url": {"type": "string", "pattern": "^(https?|homeassistant)://"},
                **dict.fromkeys(
                    ["hw_version", "manufacturer", "model", "model_id", "name", "serial_number", "suggested_area",
                     "sw_version", "via_device"],
                    TEXT,
                ),
            },
        },
        "origin": {
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {"name": TEXT, "sw_version": TEXT, "support_url": TEXT},
        },
        "components": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {
                "oneOf": [
                    {
                        **rules,
                        "type": "object",
                        "required": ["platform", "unique_id", *rules.get("required", ())],
                        "additionalProperties": False,
                        "properties": {"platform": {"const": platform}, **ENTITY, **rules["properties"]},
                    }
                    for platform, rules in PLATFORMS.items()
                ],
            },
        },
    },
}  # fmt: skip


def incident(**fields):
    now = utc_now()
    given = {
        "id": 7, "camera": "gate-1", "hazard": "fire", "place": PLACE, "first_seen": now, "last_seen": now,
        "confidence": 0.8123, "sightings": 3, "pin_s": 0.1, "caption": Caption(en="Fire.", ko="화재."),
        "snapshot_key": None, "revision": 1,
    }  # fmt: skip
    return Incident(**(given | fields))


def camera(status):
    return Camera("gate-1", PLACE, status, utc_now(), 1)


@pytest.mark.parametrize("public_url", ["", "https://map.example"])
def test_discovery_holds_only_documented_keys(public_url):
    for view in (View("gate-1", PLACE, camera("live")), View("문 2 #+", Place(lat=0, lon=0, name=""))):
        message = discover(view, Site(SITE.topics, 120.0, public_url))
        jsonschema.Draft202012Validator(DISCOVERY).validate(message)
        entities = message["components"].values()
        assert len({entity["unique_id"] for entity in entities}) == len(entities) == len(HAZARDS) + 2


def test_names_and_captions_are_in_the_language_of_the_site():
    site = Site(SITE.topics, 120.0, language="ja")
    names = {key: entity["name"] for key, entity in discover(View("gate-1", PLACE), site)["components"].items()}
    assert {key: names[key] for key in ("accident", "fire", "gun", "knife", "snapshot", "status")} == {
        "accident": "事故", "fire": "火災", "gun": "銃器", "knife": "刃物", "snapshot": "画像", "status": "映像",
    }  # fmt: skip
    seen = describe(incident(caption=Caption("Fire.", "화재.", {"ja": "火災。"})), site, utc_now())
    assert (seen["caption_en"], seen["caption_ko"], seen["caption_ja"]) == ("Fire.", "화재.", "火災。")


def test_schema_of_the_test_refuses_a_misspelt_key():
    message = discover(View("gate-1", PLACE), SITE)
    message["components"]["fire"]["json_attribute_topic"] = "a"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(DISCOVERY).validate(message)


def test_every_topic_that_discovery_names_is_retained():
    view = View("gate-1", PLACE, camera("live"), {"fire": incident()})
    messages = compose(view, SITE, utc_now())
    named = [
        topic
        for entity in discover(view, SITE)["components"].values()
        for key, topic in entity.items()
        if key.endswith("_topic")
    ]
    assert set(named) == messages.keys() - {SITE.topics.config("gate-1")}
    assert all(json.loads(messages[topic]) is not None for topic in named if topic.endswith("/attributes"))


def test_discovery_comes_first_and_states_last():
    view = View("gate-1", PLACE, camera("live"), {"fire": incident()})
    order = list(compose(view, SITE, utc_now()))
    fire = SITE.topics.hazard("gate-1", "fire")
    assert order[0] == SITE.topics.config("gate-1")
    assert order.index(f"{fire}/attributes") < order.index(fire) > order.index(SITE.topics.snapshot("gate-1"))


def test_sighting_of_an_open_incident_changes_no_message():
    now, seen = utc_now(), incident()
    again = incident(first_seen=seen.first_seen, last_seen=seen.last_seen + timedelta(seconds=2), sightings=4)
    assert describe(seen, SITE, now) == describe(again, SITE, now)


def test_acknowledged_incident_stays_on_and_says_so():
    seen = incident(review=Review("acknowledged", "desk", utc_now(), ""))
    messages = compose(View("gate-1", PLACE, None, {"fire": seen}), SITE, utc_now())
    topic = SITE.topics.hazard("gate-1", "fire")
    assert messages[topic] == b"ON" and json.loads(messages[f"{topic}/attributes"])["acknowledged"] is True


def test_picture_that_is_not_redacted_is_refused(street):
    with pytest.raises(TypeError, match="only a Redacted picture"):
        compose(View("gate-1", PLACE, picture=street), SITE, utc_now())


def test_no_discovery_without_its_prefix():
    site = Site(Topics("bongsu", ""), 120.0)
    assert not [topic for topic in compose(View("gate-1", PLACE), site, utc_now()) if "config" in topic]


def test_camera_states_are_three_and_unknown():
    said = ("live", "lost: no frame for 10 s", "lost: frozen: the picture has not changed in 120 s", "asleep")
    assert [state_of(camera(status)) for status in said] == ["live", "lost", "frozen", "unknown"]
    assert state_of(None) == "unknown"


def test_names_become_topics_that_do_not_meet():
    names = ["gate-1", "gate/1", "gate 1", "gate#1", "문-1", "문-2", "x" * 60, "x" * 61]
    slugs = [slug(name) for name in names]
    assert slugs[0] == "gate-1" and len(set(slugs)) == len(names)
    assert all(part.isascii() and part.replace("-", "").replace("_", "").isalnum() for part in slugs)
