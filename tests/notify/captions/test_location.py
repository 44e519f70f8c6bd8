"""The map of a place: correct where outlines are known, plain where they are not, and never a camera's picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions import Place
from notify.captions.districts import find_district
from notify.captions.location import describe_location, draw_location
from privacy.drawn import Drawn, drawn_of

SINCHON = Place(37.5585, 126.9370, "신촌시장")


def draw(place):
    jpeg = draw_location(place, find_district(place.lat, place.lon)).jpeg
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)


def test_map_is_small_with_its_pin_in_the_middle():
    image = draw(SINCHON)
    assert image.shape == (360, 640, 3)
    assert len(draw_location(SINCHON, None).jpeg) < 60_000
    blue, green, red = image[180 - 30, 320].tolist()
    assert red > 180 and green < 90 and blue < 90
    # The district is lighter than its neighbours, and an island is surrounded by water.
    assert image[120, 330].min() > image[330, 600].min()
    sea = draw(Place(37.48, 130.9, "울릉도"))[180, 100].tolist()
    assert sea[0] > sea[2] + 15


def test_place_abroad_is_drawn_among_its_coasts():
    image = draw(Place(51.5, -0.1, "Old Street", "London"))
    assert image.shape == (360, 640, 3) and image[180 - 30, 320, 2] > 180
    england, north_sea = image[130, 290].astype(int), image[100, 400].astype(int)
    assert england[2] > 225 and north_sea[0] > north_sea[2] + 15
    # On a map of a place abroad, South Korea is land too.
    korea = draw(Place(35.68, 139.7, "Tokyo"))[120, 60].astype(int)
    assert korea[2] > 225


@settings(max_examples=30, deadline=None)
@given(lat=st.floats(-90, 90), lon=st.floats(-180, 180), name=st.text(max_size=120))
def test_every_place_of_the_world_can_be_drawn(lat, lon, name):
    assert draw_location.__wrapped__(Place(lat, lon, name), None).jpeg.startswith(b"\xff\xd8")


def test_the_same_place_is_drawn_once():
    assert draw_location(SINCHON, None) is draw_location(SINCHON, None)


def test_map_is_described_for_those_who_cannot_see_it():
    description = describe_location(Place(-33.86, 151.2, "Harbour", "Sydney"))
    assert description.en == "Map with a pin at Harbour (Sydney): 33.8600°S, 151.2000°E."
    assert description.ko == "Harbour (Sydney)의 위치를 표시한 지도: 33.8600°S, 151.2000°E."


def test_nothing_but_this_module_makes_a_drawn_picture(make_event, street):
    with pytest.raises(TypeError, match="not by hand"):
        Drawn(street)
    with pytest.raises(TypeError, match="captioned"):
        drawn_of(make_event("fire", location=street))
    assert drawn_of(make_event("captioned", hazard="fire")) is None


async def test_store_of_public_pictures_takes_it(snapshots):
    drawn = draw_location(SINCHON, None)
    assert (await snapshots.get(await snapshots.put(drawn))).jpeg == drawn.jpeg
