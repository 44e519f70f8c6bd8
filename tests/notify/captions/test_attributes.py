"""Clothing and colours, read from a clip that ships with the project, and never a person's sex."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from functions import Box, Detection, Frame, utc_now
from notify.captions.attributes import PERSON_WEIGHTS, VEHICLE_WEIGHTS, WEIGHTS, AttributeReader, AttributesError, Look

ROOT = Path(__file__).parents[3]
GREY_CAR = Box(0.26857, 0.01326, 0.49244, 0.47219)
WHITE_CAR = Box(0.50028, 0.34865, 0.99788, 0.99328)
WRECK = Box(0.71371, 0.51929, 0.99961, 0.98902)


@pytest.fixture(scope="module")
def reader():
    return AttributeReader()


@pytest.fixture(scope="module")
def clip():
    """The frames of the demo's crash, by number."""
    video = cv2.VideoCapture(str(ROOT / "local/demo/media/accident.mp4"))
    frames = []
    while len(frames) <= 150:
        is_read, image = video.read()
        assert is_read
        frames.append(image)
    return frames


def test_colours_of_cars_are_read_where_they_are_clear(reader, clip):
    assert reader.read(clip[0], [Detection("car", 0.5, GREY_CAR)]) == {0: Look(colour="gray")}
    fire, car = Detection("fire", 0.9, WHITE_CAR), Detection("car", 0.7, WHITE_CAR)
    assert reader.read(clip[100], [fire, car]) == {1: Look(colour="white")}


def test_car_that_the_detector_takes_for_a_truck_is_doubtful(reader, clip):
    assert reader.read(clip[150], [Detection("truck", 0.54, WRECK)])[0].is_doubtful
    assert not reader.read(clip[150], [Detection("car", 0.54, WRECK)])[0].is_doubtful


def test_small_far_or_cut_boxes_say_nothing(reader, clip):
    small = Box(0.50, 0.35, 0.55, 0.45)
    assert reader.read(clip[100], [Detection("car", 0.9, small), Detection("person", 0.9, small)]) == {}
    # Wider than standing people.
    assert reader.read(clip[100], [Detection("person", 0.9, WHITE_CAR)]) == {}
    assert reader.read(clip[100], [Detection("car", 0.9, Box(0.5, 0.5, 0.5, 0.5))]) == {}


def test_weights_cannot_tell_sex_or_hair():
    net = cv2.dnn.readNetFromONNX(str(WEIGHTS / PERSON_WEIGHTS))
    net.setInput(cv2.dnn.blobFromImage(np.zeros((160, 80, 3), np.uint8)))
    names = net.getUnconnectedOutLayersNames()
    assert sorted(names) == ["upper_point", "worn"]
    worn, point = net.forward(["worn", "upper_point"])
    # Hat, long sleeves, long trousers; x and y.
    assert worn.size == 3 and point.size == 2
    assert b"male" not in (WEIGHTS / PERSON_WEIGHTS).read_bytes()
    assert set(Look.__slots__) == {"worn", "dark_top", "colour", "is_doubtful"}


def test_frame_that_cannot_be_decoded_is_one_error(reader, street):
    car = [Detection("car", 0.9, WHITE_CAR)]
    for jpeg in (b"", street[:2000], street[:200] + b"\0" * 5000 + b"\xff\xd9"):
        with pytest.raises(AttributesError, match="cannot be decoded"):
            reader.read_frame(Frame(jpeg, utc_now()), car)
    assert reader.read_frame(Frame(b"", utc_now()), []) == {}


def test_weights_that_were_changed_or_lost_are_refused(tmp_path):
    for name in (PERSON_WEIGHTS, VEHICLE_WEIGHTS, "SHA256SUMS"):
        shutil.copy(WEIGHTS / name, tmp_path / name)
    AttributeReader(tmp_path)
    with (tmp_path / VEHICLE_WEIGHTS).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(AttributesError, match="differs from its sha256"):
        AttributeReader(tmp_path)
    (tmp_path / VEHICLE_WEIGHTS).unlink()
    with pytest.raises(AttributesError, match="no weights at"):
        AttributeReader(tmp_path)
