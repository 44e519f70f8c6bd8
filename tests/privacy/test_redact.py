"""Published pictures show no faces: heads and faces are pixelated, and uncertain pictures are withheld."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions import Box, Detection, Frame
from functions.event import utc_now
from functions.jpeg import check_jpeg
from privacy.faces import Face
from privacy.mosaic import head_region, pixelate
from privacy.redact import FaceFinder, Redacted, RedactionError, read_back, redact, redacted_of, shrink, thumbnail_of

DATA = Path(os.environ.get("BONGSU_DATA", "/nonexistent"))
SEARCHED = ("fire", "person")


@pytest.fixture(scope="module")
def faces() -> FaceFinder:
    return FaceFinder()


def frame(jpeg: bytes) -> Frame:
    return Frame(jpeg, utc_now())


def decode(jpeg: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)


def encode(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def person(x1: float, y1: float, x2: float, y2: float) -> Detection:
    return Detection("person", 0.7, Box(x1, y1, x2, y2))


def detail(image: np.ndarray) -> float:
    """Difference of neighbouring pixels: high in noise, near zero inside the blocks of a mosaic."""
    return float(np.median(np.abs(np.diff(image.astype(int), axis=1))))


def test_upright_persons_head_is_mosaicked(street, faces):
    shown = decode(redact(frame(street), [person(0.4, 0.2, 0.5, 0.9)], SEARCHED, faces).jpeg)
    x1, x2, top, bottom = int(0.4 * 640), int(0.5 * 640), int(0.2 * 360), int(0.9 * 360)
    head = shown[top : top + int(0.3 * (bottom - top)), x1:x2]
    assert detail(head) < 3
    assert detail(shown[top + int(0.35 * (bottom - top)) : bottom, x1:x2]) > 20
    assert detail(shown[:, :200]) > 20


def test_person_wider_than_tall_is_mosaicked_whole(street, faces):
    shown = decode(redact(frame(street), [person(0.2, 0.6, 0.6, 0.8)], SEARCHED, faces).jpeg)
    assert detail(shown[int(0.6 * 360) : int(0.8 * 360), int(0.2 * 640) : int(0.6 * 640)]) < 3


def test_other_things_are_not_mosaicked(street, faces):
    car = Detection("car", 0.9, Box(0.1, 0.1, 0.4, 0.9))
    assert detail(decode(redact(frame(street), [car], SEARCHED, faces).jpeg)) > 20


@pytest.mark.parametrize("side", [2, 5, 13, 40, 333])
def test_region_of_any_size_keeps_at_most_six_blocks_a_side(side):
    image = np.random.default_rng(1).integers(0, 255, (400, 400, 3), dtype=np.uint8)
    before = image.copy()
    pixelate(image, (20, 30, 20 + side, 30 + side))
    part = image[30 : 30 + side, 20 : 20 + side]
    rows = 1 + int(np.any(np.diff(part.astype(int), axis=0) != 0, axis=(1, 2)).sum())
    columns = 1 + int(np.any(np.diff(part.astype(int), axis=1) != 0, axis=(0, 2)).sum())
    assert max(rows, columns) <= min(6, max(1, side // 2))
    image[30 : 30 + side, 20 : 20 + side] = before[30 : 30 + side, 20 : 20 + side]
    assert np.array_equal(image, before)


@given(st.tuples(*[st.integers(-50, 450)] * 4))
def test_region_beyond_the_picture_is_cut_to_it(region):
    pixelate(np.zeros((100, 100, 3), np.uint8), region)


@given(
    x=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted), y=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)
)
def test_head_region_covers_the_top_of_every_person(x, y):
    box = Box(x[0], y[0], x[1], y[1])
    x1, y1, x2, y2 = head_region(box, 640, 360)
    assert x1 <= box.x1 * 640 and x2 >= box.x2 * 640
    assert y1 <= box.y1 * 360
    assert y2 >= (box.y1 + 0.3 * (box.y2 - box.y1)) * 360 - 1e-6


def test_faces_are_looked_for_in_a_picture_without_people(street):
    class OneFace:
        def find(self, image: np.ndarray, *, is_close: bool = True) -> list[Face]:
            return [Face((100, 100, 160, 160), 0.9)]

    shown = decode(redact(frame(street), [], SEARCHED, OneFace()).jpeg)
    assert detail(shown[100:160, 100:160]) < 3


def test_picture_is_withheld_where_people_were_not_looked_for(street, faces):
    with pytest.raises(RedactionError, match="did not look for people"):
        redact(frame(street), [], ("fire", "gun"), faces)


def test_cut_off_picture_is_withheld(street, faces):
    with pytest.raises(RedactionError, match="cut off"):
        redact(frame(street[: len(street) // 2]), [], SEARCHED, faces)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_a_refusal_and_never_a_crash(content):
    class NoFaces:
        def find(self, image: np.ndarray, *, is_close: bool = True) -> list[Face]:
            return []

    for jpeg in (content, b"\xff\xd8" + content + b"\xff\xd9"):
        with pytest.raises(RedactionError):
            redact(frame(jpeg), [], SEARCHED, NoFaces())


def test_huge_picture_is_refused_before_decoding(street, faces, monkeypatch):
    at = street.index(b"\xff\xc0") + 5
    huge = street[:at] + (65000).to_bytes(2, "big") + (65000).to_bytes(2, "big") + street[at + 4 :]
    monkeypatch.setattr("privacy.redact._decode", lambda jpeg: pytest.fail("it was decoded"))
    with pytest.raises(RedactionError, match="65000x65000"):
        redact(frame(huge), [], SEARCHED, faces)


def test_one_pixel_is_refused(faces):
    with pytest.raises(RedactionError, match="1x1"):
        redact(frame(encode(np.zeros((1, 1, 3), np.uint8))), [], SEARCHED, faces)


def test_8k_picture_is_made_small_enough_for_the_public(faces):
    large = encode(np.full((4320, 7680, 3), 90, np.uint8))
    assert decode(redact(frame(large), [person(0.1, 0.1, 0.2, 0.5)], SEARCHED, faces).jpeg).shape == (720, 1280, 3)


def test_what_is_attached_to_a_picture_does_not_go_out(street, faces):
    comment = b"rtsp://user:secret@camera"
    with_comment = street[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + street[2:]
    assert b"secret" not in redact(frame(with_comment), [], SEARCHED, faces).jpeg


def test_picture_with_exif_is_withheld_as_its_boxes_may_not_fit(street, faces):
    exif = b"Exif\0\0" + b"\0" * 20
    turned = street[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + street[2:]
    with pytest.raises(RedactionError, match="Exif"):
        redact(frame(turned), [], SEARCHED, faces)


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(RedactionError, match=r"gone\.onnx"):
        FaceFinder(tmp_path / "gone.onnx")


def test_nobody_makes_a_redacted_picture_by_hand(street):
    with pytest.raises(TypeError, match="redact"):
        Redacted(street)


def test_frame_of_a_hazard_event_is_not_taken_for_redacted(make_event, street):
    with pytest.raises(TypeError, match="captioned"):
        redacted_of(make_event("fire", snapshot=street))
    assert redacted_of(make_event("captioned", hazard="fire")).jpeg == street
    assert redacted_of(make_event("captioned", hazard="fire", snapshot=None)) is None
    with pytest.raises(TypeError, match="captioned"):
        thumbnail_of(make_event("fire", thumbnail=street))
    assert thumbnail_of(make_event("captioned", hazard="fire", thumbnail=street)).jpeg == street
    assert thumbnail_of(make_event("captioned", hazard="fire")) is None


def test_thumbnail_is_320_wide_and_made_from_redacted(street):
    small = shrink(read_back(street))
    assert check_jpeg(small.jpeg) == (320, 180) and len(small.jpeg) < len(street) / 3
    # Enlarging nothing.
    assert shrink(small) is small
    with pytest.raises(TypeError, match="Redacted"):
        shrink(street)
    with pytest.raises(RedactionError, match="decoded"):
        shrink(read_back(b"no picture"))


class Faces:
    """A face finder for tests: its results for the camera's picture, then for each covered one."""

    def __init__(self, *looks: list[Face]) -> None:
        self.looks = list(looks)

    def find(self, image: np.ndarray, *, is_close: bool = True) -> list[Face]:
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]


def gun(x1: float, y1: float, x2: float, y2: float) -> Detection:
    return Detection("gun", 0.7, Box(x1, y1, x2, y2))


SHOOTER = person(0.4, 0.2, 0.6, 0.9)
"""At 640x360: x 256 to 384, y 72 to 324; the head is expected in the top 30 %, down to 147."""
SURE = Face((330, 80, 360, 115), 0.95)
HELD = gun(0.41, 0.25, 0.47, 0.35)
HELD_AREA = (slice(92, 124), slice(264, 298))


def test_gun_beside_its_holders_face_stays_visible(street):
    shown = decode(redact(frame(street), [HELD, SHOOTER], SEARCHED, Faces([SURE], [])).jpeg)
    assert detail(shown[HELD_AREA]) > 20
    assert detail(shown[65:130, 318:372]) < 3
    assert detail(shown[72:90, 256:318]) < 3


@pytest.mark.parametrize(
    ("faces_found", "others"),
    [
        ([], []),
        ([Face(SURE.region, 0.75)], []),
        ([SURE, Face((300, 85, 320, 110), 0.45)], []),
        ([SURE], [person(0.5, 0.2, 0.6, 0.9)]),
        ([Face((330, 280, 360, 315), 0.95)], []),
        ([Face((270, 90, 300, 125), 0.95)], []),
    ],
    ids=["no face", "not sure", "two faces", "whose face", "at the feet", "behind the gun"],
)
def test_gun_is_covered_where_a_head_may_be_behind_it(street, faces_found, others):
    shown = decode(redact(frame(street), [HELD, SHOOTER, *others], SEARCHED, Faces(faces_found, [])).jpeg)
    assert detail(shown[HELD_AREA]) < 3


def test_gun_as_large_as_a_person_opens_no_window(street):
    large = gun(0.38, 0.15, 0.62, 0.8)
    shown = decode(redact(frame(street), [large, SHOOTER], SEARCHED, Faces([SURE], [])).jpeg)
    assert detail(shown[72:145, 256:318]) < 3


def test_fire_opens_no_window(street):
    fire = Detection("fire", 0.8, HELD.box)
    shown = decode(redact(frame(street), [fire, SHOOTER], SEARCHED, Faces([SURE], [])).jpeg)
    assert detail(shown[HELD_AREA]) < 3


def test_head_in_the_window_of_another_is_covered(street):
    behind = person(0.4, 0.27, 0.47, 0.6)
    shown = decode(redact(frame(street), [HELD, SHOOTER, behind], SEARCHED, Faces([SURE], [])).jpeg)
    assert detail(shown[97:124, 264:298]) < 3


def test_standing_persons_wide_box_shows_what_is_held(street):
    stretched = person(0.3, 0.4, 0.6, 0.8)
    held = gun(0.3, 0.45, 0.36, 0.53)
    face = Face((300, 160, 325, 190), 0.95)
    shown = decode(redact(frame(street), [held, stretched], SEARCHED, Faces([face], [])).jpeg)
    assert detail(shown[164:189, 194:229]) > 20
    assert detail(shown[146:214, 240:370]) < 3
    assert detail(shown[220:280, 200:370]) > 20


def test_face_found_after_another_is_covered_is_covered(street):
    late = Face((500, 200, 540, 250), 0.6)
    shown = decode(redact(frame(street), [], SEARCHED, Faces([SURE], [late], [])).jpeg)
    assert detail(shown[200:250, 500:540]) < 3


def test_picture_with_ever_more_faces_is_withheld(street):
    class Endless:
        looks = 0

        def find(self, image: np.ndarray, *, is_close: bool = True) -> list[Face]:
            self.looks += 1
            return [Face((self.looks * 90, 100, self.looks * 90 + 30, 140), 0.6)]

    with pytest.raises(RedactionError, match="still found"):
        redact(frame(street), [], SEARCHED, Endless())


def test_mosaic_that_looks_like_a_face_withholds_nothing(street):
    assert redact(frame(street), [], SEARCHED, Faces([SURE])).jpeg


def test_head_and_shoulders_are_covered_to_the_chin(street, faces):
    shown = decode(redact(frame(street), [person(0.3, 0.1, 0.5, 0.9)], SEARCHED, faces).jpeg)
    close = decode(redact(frame(street), [person(0.3, 0.1, 0.7, 0.9)], SEARCHED, faces).jpeg)
    assert detail(shown[160:180, 200:310]) > 20
    assert detail(close[40:180, 200:440]) < 3


SEARCHED_ALL = (*SEARCHED, "car", "motorcycle", "bus", "truck")


@pytest.mark.parametrize("label", ["car", "motorcycle", "bus", "truck"])
def test_plates_are_covered_where_an_operator_asks_for_it(street, faces, label):
    vehicle = Detection(label, 0.5, Box(0.1, 0.1, 0.4, 0.9))
    shown = decode(redact(frame(street), [vehicle], SEARCHED_ALL, faces, with_plates=True).jpeg)
    assert detail(shown[165:324, 64:256]) < 3
    assert detail(shown[40:160, 64:256]) > 20


def test_unchecked_plates_withhold_the_picture(street, faces):
    with pytest.raises(RedactionError, match="look for car"):
        redact(frame(street), [], SEARCHED, faces, with_plates=True)


@settings(deadline=None)
@given(
    region=st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(61, 120), st.integers(61, 120)),
    seed=st.integers(0, 9),
)
def test_faces_with_equal_block_means_look_the_same(region, seed):
    rng = np.random.default_rng(seed)
    one = rng.integers(0, 255, (120, 120, 3), dtype=np.uint8)
    other = one.copy()
    x1, y1, x2, y2 = region
    # Another face: the pixels within each block are permuted.
    rows = [
        round((y2 - y1) * n / max(1, min(6, (y2 - y1) // 2))) + y1 for n in range(max(1, min(6, (y2 - y1) // 2)) + 1)
    ]
    columns = [
        round((x2 - x1) * n / max(1, min(6, (x2 - x1) // 2))) + x1 for n in range(max(1, min(6, (x2 - x1) // 2)) + 1)
    ]
    for top, bottom in itertools.pairwise(rows):
        for left, right in itertools.pairwise(columns):
            block = other[top:bottom, left:right]
            block[:] = rng.permutation(block.reshape(-1, 3)).reshape(block.shape)
    pixelate(one, region)
    pixelate(other, region)
    assert np.array_equal(one, other)


def test_two_faces_of_one_mosaic_make_one_file(street):
    """No data from under a mosaic reaches the JPEG, which is encoded from the mosaic alone."""
    image = decode(street)
    mirrored = image.copy()
    x1, y1, x2, y2 = 240, 120, 300, 180
    blocks = image[y1:y2, x1:x2].reshape(6, 10, 6, 10, 3)[:, ::-1, :, ::-1]
    mirrored[y1:y2, x1:x2] = blocks.reshape(60, 60, 3)
    for one in (image, mirrored):
        pixelate(one, (x1, y1, x2, y2))
    assert encode(image) == encode(mirrored)


def test_what_is_not_covered_changes_by_no_more_than_jpeg_does(street):
    shown = decode(redact(frame(street), [person(0.4, 0.2, 0.5, 0.9)], SEARCHED, Faces([])).jpeg)
    again = decode(cv2.imencode(".jpg", decode(street), [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes())
    x1, y1, x2, y2 = head_region(Box(0.4, 0.2, 0.5, 0.9), 640, 360)
    # Compression works in blocks of 16 pixels, and decoders smooth colours across their edges.
    outside = np.ones((360, 640), dtype=bool)
    outside[max(0, y1 - 18) : y2 + 18, max(0, x1 - 18) : x2 + 18] = False
    assert np.array_equal(shown[outside], again[outside])


def test_nothing_but_the_picture_is_in_the_file(street, faces):
    """Exif data, colour profile, thumbnails, and data appended after the end."""
    segments = ((0xE1, b"http://ns.adobe.com/xap/1.0/\0secret"), (0xE2, b"ICC_PROFILE\0\1\1secret"), (0xED, b"secret"))
    attached = b"".join(
        bytes((0xFF, m)) + (len(d) + 2).to_bytes(2, "big") + d for m, d in (*segments, (0xFE, b"secret"))
    )
    jpeg = redact(frame(street[:2] + attached + street[2:] + b"secret\xff\xd9"), [], SEARCHED, faces).jpeg
    at, markers = 2, []
    while jpeg[at + 1] != 0xDA:
        markers.append(jpeg[at + 1])
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    assert set(markers) <= {0xE0, 0xDB, 0xC0, 0xC4} and markers[0] == 0xE0
    assert b"secret" not in jpeg and jpeg.count(b"\xff\xd9") == 1 and jpeg.endswith(b"\xff\xd9")


@pytest.mark.skipif(not (DATA / "video" / "um_Med.mp4").is_file(), reason="BONGSU_DATA names no folder with the clips")
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_real_face_large_or_small_is_no_longer_found(faces, scale):
    capture = cv2.VideoCapture(str(DATA / "video" / "um_Med.mp4"))
    read, image = capture.read()
    capture.release()
    assert read
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    largest = max((face.region for face in faces.find(image)), key=lambda face: face[2] - face[0])
    shown = decode(redact(frame(encode(image)), [], SEARCHED, faces).jpeg)
    assert not [face for face in faces.find(shown) if overlap(face.region, largest)]


def overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
