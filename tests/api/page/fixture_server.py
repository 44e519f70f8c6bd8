"""A stand-in for the map API: serves the page with generated incidents and drawn pictures, and lets a test push events.

By hand: `python tests/api/page/fixture_server.py 8099` and look at http://127.0.0.1:8099/.
"""

from __future__ import annotations

import json
import math
import queue
import socket
import struct
import sys
import threading
import time
import zlib
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from api.views import hazard_table

PAGE = Path(__file__).parents[3] / "api" / "page"
OPEN = {"/", "/feed", "/drive", "/sw.js", "/manifest.webmanifest", "/hazards.json", "/api/session"}
"""Paths that take no key."""
WORDS = Path(__file__).parents[3] / "functions" / "catalogue"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; manifest-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".geojson": "application/geo+json",
    ".webmanifest": "application/manifest+json",
}
Json = dict[str, Any]


KEYS = {"key-of-kim": ("kim", "operator"), "key-of-lee": ("lee", "viewer")}


class World:
    """What the API knows: a log of revisions, from which both the snapshot and the stream are made."""

    read = "open"
    keys: dict[str, tuple[str, str]] = KEYS
    list_length = 200
    push_key: str | None = None

    def __init__(self) -> None:
        self.revision = 0
        self.incidents: dict[int, Json] = {}
        self.old: dict[int, Json] = {}
        """Incidents that only their own address gives, not the list."""
        self.posts: dict[str, Json] = {}
        self.cameras: dict[str, Json] = {}
        self.pipeline: Json = {"at": None, "functions": []}
        self.log: list[tuple[int, str, Json]] = []
        self.streams: set[queue.Queue[str | None]] = set()
        self.lock = threading.Lock()

    def push_incident(self, feature: Json) -> None:
        self.incidents[feature["id"]] = feature
        self._push("incident", without_stages(feature))

    def push_post(self, item: Json) -> None:
        item["_bongsu"]["revision"] = self.revision + 1
        self.posts[item["id"]] = item
        self._push("post", item)

    def push_camera(self, feature: Json) -> None:
        self.cameras[feature["properties"]["id"]] = feature
        self._push("camera", feature)

    def review(self, number: int, review: Json | None) -> Json:
        feature = self.incidents[number]
        given = feature["properties"]
        status = "closed" if given["status"] == "false_alarm" else given["status"]
        if review is not None and review["verdict"] == "false_alarm":
            status = "false_alarm"
        reviewed = feature | {"properties": given | {"review": review, "status": status}}
        self.push_incident(reviewed)
        return reviewed

    def page(self, query: dict[str, list[str]]) -> Json:
        """One page of `/api/incidents`, last seen first."""
        asked = {name: values[0] for name, values in query.items()}
        found = sorted(self.incidents.values(), key=lambda f: str(f["properties"]["last_seen"]), reverse=True)
        if "since" in asked:
            since = datetime.fromisoformat(asked["since"])
            found = [f for f in found if datetime.fromisoformat(f["properties"]["last_seen"]) >= since]
        if "hazard" in asked:
            found = [f for f in found if f["properties"]["hazard"] in asked["hazard"].split(",")]
        first, length = int(asked.get("cursor", 0)), int(asked.get("limit", self.list_length))
        features = [without_stages(each) for each in found[first : first + length]]
        after = str(first + length) if first + length < len(found) else None
        return {"type": "FeatureCollection", "revision": self.revision, "features": features, "next": after}

    def push_pipeline(self, pipeline: Json) -> None:
        self.pipeline = pipeline
        with self.lock:
            self._send(sse("pipeline", pipeline, None))

    def _push(self, kind: str, data: Json) -> None:
        with self.lock:
            self.revision += 1
            self.log.append((self.revision, kind, data))
            self._send(sse(kind, data, self.revision))

    def _send(self, text: str) -> None:
        for stream in self.streams:
            stream.put(text)


def without_stages(feature: Json) -> Json:
    """As lists and the stream give it."""
    return feature | {"properties": {name: v for name, v in feature["properties"].items() if name != "stages"}}


def sse(kind: str, data: Json, revision: int | None) -> str:
    """One event of the stream as it goes over the wire."""
    head = f"id: {revision}\n" if revision is not None else ""
    return f"{head}event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


class Server(ThreadingHTTPServer):
    """The API over HTTP on one port; `stop` cuts every open stream, as a restart does."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, world: World, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.world = world
        self.sockets: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Server:
        self._thread.start()
        return self

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        with self.world.lock:
            for stream in self.world.streams:
                stream.put(None)
            self.world.streams.clear()
        for each in list(self.sockets):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that closes a page leaves broken pipes, which are not worth logging."""


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.server.sockets.add(self.connection)

    def finish(self) -> None:
        self.server.sockets.discard(self.connection)
        super().finish()

    @property
    def _who(self) -> tuple[str, str] | None:
        morsel = SimpleCookie(self.headers.get("Cookie", "")).get("session")
        return self.server.world.keys.get(morsel.value) if morsel else None

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        match self.path.strip("/").split("/"):
            case ["api", "session"] if body["key"] in self.server.world.keys:
                name, role = self.server.world.keys[body["key"]]
                cookie = f"session={body['key']}; HttpOnly; SameSite=Strict; Path=/"
                self._json({"name": name, "role": role, "read": self.server.world.read}, cookie=cookie)
            case ["api", "session"]:
                self._json({"detail": "no such key"}, 401)
            case ["api", "incidents", number, "review"]:
                self._review(int(number), body)

    def do_DELETE(self) -> None:
        if self.path == "/api/session":
            self._answer(b"", "text/plain", 204, "session=; Path=/; Max-Age=0")
        else:
            self._review(int(self.path.split("/")[-2]), None)

    def _review(self, number: int, body: Json | None) -> None:
        if self._who is None or self._who[1] != "operator":
            self._json({"detail": "reviewing needs an operator's key"}, 401 if self._who is None else 403)
            return
        review = None if body is None else body | {"by": self._who[0], "at": datetime.now(UTC).isoformat()}
        self._json(self.server.world.review(number, review))

    def _session(self) -> Json:
        name, role = self._who or (None, None)
        reviews = any(role == "operator" for _, role in self.server.world.keys.values())
        return {"name": name, "role": role, "read": self.server.world.read, "reviews": reviews}

    def do_GET(self) -> None:
        world = self.server.world
        url = urlsplit(self.path)
        is_open = url.path in OPEN or url.path.startswith(("/static/", "/words/"))
        if world.read == "key" and self._who is None and not is_open:
            self._json({"detail": "reading needs a key"}, 401)
            return
        plain = {
            "/api/cameras": lambda: {"type": "FeatureCollection", "features": [*world.cameras.values()]},
            "/hazards.json": lambda: hazard_table(("en", "ko")),
            "/api/session": self._session,
            "/api/pipeline": lambda: world.pipeline,
            "/api/push": lambda: {"key": world.push_key},
        }
        if url.path in plain:
            self._json(plain[url.path]())
            return
        match url.path:
            case "/sw.js" | "/manifest.webmanifest":
                self._file(PAGE / url.path[1:])
            case "/" | "/feed" | "/drive":
                self._file(PAGE / "index.html")
            case "/api/incidents":
                self._json(world.page(parse_qs(url.query)))
            case "/feed.json":
                self._json(
                    {"version": "https://jsonfeed.org/version/1.1", "title": "Bongsu", "items": [*world.posts.values()]}
                )
            case "/api/incidents/stream":
                self._stream(int(parse_qs(url.query).get("after", ["0"])[0]))
            case path if path.startswith("/words/"):
                self._file(WORDS / path.removeprefix("/words/"))
            case path if path.startswith("/static/"):
                self._file(PAGE / path.removeprefix("/static/"))
            case path if path.startswith("/api/incidents/") and path.split("/")[-1].isdigit():
                self._incident(int(path.split("/")[-1]))
            case path if path.endswith(("/snapshot", "/location")):
                name = path.split("/")[-2]
                self._answer(drawn_picture(int(name) if name.isdigit() else len(name)), "image/png")
            case _:
                self._answer(b"not found", "text/plain", 404)

    def log_message(self, *args: Any) -> None:
        """Quiet: what a test prints should be about the test."""

    def _file(self, path: Path) -> None:
        inside = any(path.resolve().is_relative_to(folder.resolve()) for folder in (PAGE, WORDS)) and path.is_file()
        if inside:
            self._answer(path.read_bytes(), TYPES.get(path.suffix, "application/octet-stream"))
        else:
            self._answer(b"not found", "text/plain", 404)

    def _incident(self, number: int) -> None:
        found = self.server.world.incidents.get(number) or self.server.world.old.get(number)
        if found is None:
            self._answer(b"not found", "text/plain", 404)
        else:
            self._json(found)

    def _json(self, value: Json, status: int = 200, cookie: str = "") -> None:
        self._answer(json.dumps(value, ensure_ascii=False).encode(), "application/json; charset=utf-8", status, cookie)

    def _answer(self, body: bytes, content_type: str, status: int = 200, cookie: str = "") -> None:
        self.send_response(status)
        if cookie:
            self.send_header("Set-Cookie", cookie)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-cache")
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, after: int) -> None:
        world = self.server.world
        mine: queue.Queue[str | None] = queue.Queue()
        with world.lock:
            for revision, kind, data in world.log:
                if revision > after:
                    mine.put(sse(kind, data, revision))
            mine.put(sse("pipeline", world.pipeline, None))
            world.streams.add(mine)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            while (text := mine.get()) is not None:
                self.wfile.write(text.encode())
                self.wfile.flush()
        finally:
            with world.lock:
                world.streams.discard(mine)


SCENES: list[tuple[str, str, str, str, float, float, str, str]] = [
    # hazard, camera, place, region, lon, lat, English, Korean
    ("fire", "market-2", "Gwangjang Market, east gate", "Jongno-gu, Seoul", 126.9997, 37.5701,
     "Flames beside a parked car in the middle of the frame. Two people nearby, one in a dark jacket.",
     "화면 중앙의 주차된 차량 옆에서 불꽃이 보입니다. 근처에 두 사람이 있으며, 한 명은 어두운 색 상의를 입었습니다."),
    ("accident", "alley-5", "Mangwon-ro 7 crossing", "Mapo-gu, Seoul", 126.9052, 37.5563,
     "A white car and a scooter have collided on the left. One person on the ground.",
     "왼쪽에서 흰색 승용차와 스쿠터가 충돌했습니다. 한 사람이 쓰러져 있습니다."),
    ("gun", "lobby-1", "Office lobby, 2nd floor", "Gangnam-gu, Seoul", 127.0276, 37.4979,
     "A person in a grey top holds a handgun on the right of the frame.",
     "화면 오른쪽에서 회색 상의를 입은 사람이 권총을 들고 있습니다."),
    ("knife", "station-9", "Dongdaemun underpass, exit 9", "Jung-gu, Seoul", 127.0093, 37.5664,
     "A person in black holds a knife near the stairs.",
     "검은 옷을 입은 사람이 계단 근처에서 흉기를 들고 있습니다."),
    ("accident", "market-2", "Gwangjang Market, east gate", "Jongno-gu, Seoul", 126.9997, 37.5701,
     "Two cars have collided in front of the gate.", "문 앞에서 차량 두 대가 충돌했습니다."),
    ("fire", "port-3", "Harbour warehouse 3", "Jung-gu, Incheon", 126.6130, 37.4600,
     "Smoke and flames at the roof of a low building.", "낮은 건물 지붕에서 연기와 불꽃이 보입니다."),
]  # fmt: skip


def incident(number: int, hazard: str, place: str, lon: float, lat: float, **other: Any) -> Json:
    """A Feature as `/api/incidents` gives it, last seen `age_s` ago; the rest of `other` overrides its properties."""
    now = datetime.now(UTC)
    last = now - timedelta(seconds=other.pop("age_s", 5))
    properties = {
        "id": number,
        "hazard": hazard,
        "camera": "camera-1",
        "place": place,
        "region": "",
        "first_seen": (last - timedelta(seconds=42)).isoformat(),
        "last_seen": last.isoformat(),
        "confidence": 0.91,
        "sightings": 12,
        "status": "open",
        "caption": {"en": f"{hazard} in the frame", "ko": "화면에 위험이 보입니다"},
        "snapshot": f"/api/incidents/{number}/snapshot",
        "pin_s": 1.2,
        "review": None,
        "late": False,
        "stages": stages(now - timedelta(seconds=60)),
    } | other
    return {
        "type": "Feature",
        "id": number,
        "geometry": {"type": "Point", "coordinates": [lon, lat]},
        "properties": properties,
    }


def stages(start: datetime) -> list[Json]:
    """Stages of a first sighting that waited for a detector to wake."""
    spans = {"motion": (0, 0.62), "detect": (1.9, 2.04), "map": (2.3, 2.33), "caption": (2.31, 3.4), "post": (3.6, 4.2)}
    at = {name: [start + timedelta(seconds=second) for second in span] for name, span in spans.items()}
    return [{"name": name, "got_at": got.isoformat(), "done_at": done.isoformat()} for name, (got, done) in at.items()]


def post(feature: Json, base: str = "") -> Json:
    """The feed item of an incident."""
    given = feature["properties"]
    item = {
        "id": f"post-{feature['id']}",
        "url": f"{base}/?incident={feature['id']}",
        "title": f"{given['hazard']}: {given['place']}",
        "content_text": (given["caption"] or {"en": given["hazard"]})["en"],
        "date_published": given["first_seen"],
        "_bongsu": {
            "incident": feature["id"],
            "hazard": given["hazard"],
            "place": given["place"],
            "text": given["caption"],
            "revision": 0,
        },
    }
    location = {"url": f"{base}/api/posts/{feature['id']}/location", "mime_type": "image/png"}
    return item | {"attachments": [location]} | ({"image": base + given["snapshot"]} if given["snapshot"] else {})


def camera(name: str, place: str, lon: float, lat: float, status: str = "live") -> Json:
    """A Feature as `/api/cameras` gives it."""
    changed = (datetime.now(UTC) - timedelta(minutes=9)).isoformat()
    return {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [lon, lat]},
        "properties": {
            "id": name,
            "place": place,
            "region": "",
            "status": status,
            "changed_at": changed,
            "snapshot": f"/api/cameras/{quote(name)}/snapshot",
            "snapshot_at": changed,
        },
    }


def pipeline(now: float, lit: dict[str, int] | None = None) -> Json:
    """A pipeline with five minutes of history in which every function woke and slept; `lit` sets the replicas now."""
    functions = []
    for index, (name, most) in enumerate((("detect", 2), ("map", 3), ("caption", 3), ("post", 2))):
        history = []
        for second in range(-300, 1):
            wave = math.sin((second + 23 * index) / 17) + math.sin((second - 11 * index) / 41)
            waiting = max(0, round(3 * (wave - 0.9)))
            replicas = 0 if wave < 0.45 else 1 if wave < 1.5 else 2
            history.append([now + second, replicas, waiting])
        replicas = (lit or {}).get(name, int(history[-1][1]))
        history[-1][1] = replicas
        functions.append(
            {"name": name, "replicas": replicas, "min": 0, "max": most, "ready": history[-1][2], "unacked": 0,
             "dead": 0, "history": history}
        )  # fmt: skip
    return {"at": now, "functions": functions}


def city() -> World:
    """A world worth looking at: hazards across Seoul and Incheon, their cameras, and a busy relay."""
    world = World()
    for number, (hazard, name, place, region, lon, lat, en, ko) in enumerate(SCENES, 1):
        age_s = (number - 1) * 410 + 4
        feature = incident(
            number, hazard, place, lon, lat, camera=name, region=region, caption={"en": en, "ko": ko}, age_s=age_s,
            status="open" if age_s < 120 else "closed", confidence=0.93 - 0.04 * number, sightings=31 - 4 * number,
            pin_s=0.8 + 0.1 * number, late=number == 3,
            snapshot=None if number == 4 else f"/api/incidents/{number}/snapshot",
        )  # fmt: skip
        world.push_camera(camera(name, place, lon, lat))
        world.push_incident(feature)
        world.push_post(post(feature))
    world.push_camera(camera("bridge-1", "Yanghwa Bridge, north", 126.9020, 37.5440))
    world.push_camera(camera("school-2", "Haneul school gate", 127.0620, 37.5300, "lost: no frame for 10 s"))
    world.pipeline = pipeline(time.time(), {"detect": 1, "caption": 1})
    return world


@lru_cache
def drawn_picture(seed: int, width: int = 240, height: int = 135) -> bytes:
    """A street at dusk with one bright spot and a mosaic, drawn as PNG without any library."""
    rows = bytearray()
    spot_x, spot_y = width * (0.3 + 0.11 * (seed % 5)), height * 0.62
    tint = [(255, 150, 60), (240, 120, 70), (190, 170, 220), (120, 200, 205)][seed % 4]
    dusk = (0.86, 0.95, 1.18)
    for y in range(height):
        rows.append(0)
        for x in range(width):
            wall = (x // 30 + seed) % 3
            base = 92 - y * 0.24 + wall * 9 if y < height * 0.66 else 58 + (y - height * 0.66) * 0.7
            window = 26 if y < height * 0.5 and (x // 7 + seed) % 4 == 1 and (y // 9) % 3 == 1 else 0
            glow = 190 * math.exp(-((x - spot_x) ** 2 + 1.6 * (y - spot_y) ** 2) / 700)
            rows.extend(min(255, int((base + window) * d + glow * c / 255)) for c, d in zip(tint, dusk, strict=True))
    return _png(width, height, bytes(rows))


def _png(width: int, height: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def main() -> None:
    """Serve `city()` until interrupted, with the relay's beat each second."""
    world = city()
    server = Server(world, int(sys.argv[1]) if len(sys.argv) > 1 else 8099).start()
    print(server.url)
    try:
        while True:
            time.sleep(1)
            world.push_pipeline(pipeline(time.time()))
    except KeyboardInterrupt:
        server.stop()


if __name__ == "__main__":
    main()
