"""A PDS as far as posts use it: tokens that expire, blobs, lexicons of posts checked, records by their keys."""

from __future__ import annotations

import hashlib
import json
import math
import re
import time

from aiohttp import web

from tests.doubles import Double

_TID = re.compile(r"[234567abcdefghij][234567abcdefghijklmnopqrstuvwxyz]{12}")
_DATETIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


class BlueskyDouble(Double):
    """One account. Source of its rules: the lexicons app.bsky.feed.post and com.atproto.repo.putRecord."""

    name = "bluesky"
    did = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"

    def __init__(self, handle: str, password: str) -> None:
        super().__init__()
        self.handle, self.password = handle, password
        self.sessions = 0
        self.blobs: dict[str, bytes] = {}
        self.records: dict[str, dict] = {}
        self.takes_pictures = True
        self._token = ""

    def route(self, router: web.UrlDispatcher) -> None:
        router.add_post("/xrpc/com.atproto.server.createSession", self._sign_in)
        router.add_post("/xrpc/com.atproto.repo.uploadBlob", self._upload)
        router.add_post("/xrpc/com.atproto.repo.putRecord", self._put)

    def expire(self) -> None:
        """The token is not valid any longer."""
        self._token = ""

    async def _sign_in(self, request: web.Request) -> web.StreamResponse:
        said = await request.json()
        if (said["identifier"], said["password"]) != (self.handle, self.password):
            return _refuse("AuthenticationRequired", "Invalid identifier or password", 401)
        self.sessions += 1
        self._token = f"access-{self.sessions}"
        return web.json_response({"did": self.did, "handle": self.handle, "accessJwt": self._token, "refreshJwt": "r"})

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        if not self._is_known(request):
            return _refuse("ExpiredToken", "Token has expired")
        jpeg = await request.read()
        if not self.takes_pictures:
            return web.Response(status=503, text="<html>")
        digest = f"bafkrei{hashlib.sha256(jpeg).hexdigest()[:52]}"
        self.blobs[digest] = jpeg
        blob = {"$type": "blob", "ref": {"$link": digest}, "mimeType": request.content_type, "size": len(jpeg)}
        return web.json_response({"blob": blob})

    async def _put(self, request: web.Request) -> web.StreamResponse:
        if not self._is_known(request):
            return _refuse("ExpiredToken", "Token has expired")
        said = json.loads(await request.read())
        return await self._meet(request, lambda: self._publish(said))

    def _publish(self, said: dict) -> web.Response:
        wrong = self._check(said)
        if wrong:
            return _refuse("InvalidRequest", f"Invalid {said['collection']} record: {wrong}")
        # A record that is put again under its key is the same post; with other words, readers saw both.
        earlier, record = self.records.get(said["rkey"]), said["record"]
        self.records[said["rkey"]] = record
        self.posts = list(self.records.values())
        if earlier is not None:
            self.met["put again"] += 1
        if earlier is None or earlier["text"] != record["text"]:
            self._note(_incident_in(record), record["text"])
        return web.json_response({"uri": f"at://{self.did}/{said['collection']}/{said['rkey']}", "cid": "bafyrei"})

    def _check(self, said: dict) -> str:
        record = said["record"]
        images = record.get("embed", {}).get("images", [])
        raw = record["text"].encode()
        checks = {
            "repo must be the account": said["repo"] == self.did,
            "rkey must be a TID": _TID.fullmatch(said["rkey"]) is not None,
            "$type must be that of the collection": record["$type"] == said["collection"] == "app.bsky.feed.post",
            "createdAt must be a datetime": re.fullmatch(
                r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["createdAt"]
            ),
            "langs must have at most 3": len(record.get("langs", [])) <= 3,
            "text must not be longer than 3000 bytes": len(raw) <= 3000,
            "text must not be longer than 300 graphemes": len(graphemes(record["text"])) <= 300,
            "embed must have at most 4 images": len(images) <= 4,
            "image must be an uploaded blob of at most 1000000 bytes": all(
                one["image"]["ref"]["$link"] in self.blobs and one["image"]["size"] <= 1_000_000 for one in images
            ),
            "image must have alt": all(isinstance(one["alt"], str) for one in images),
            "facet must lie in the text": all(
                0 <= facet["index"]["byteStart"] < facet["index"]["byteEnd"] <= len(raw)
                and raw[facet["index"]["byteStart"] : facet["index"]["byteEnd"]].decode()
                for facet in record.get("facets", [])
            ),
        }
        return next((rule for rule, holds in checks.items() if not holds), "")

    def limited(self, seconds: float) -> tuple[int, dict[str, str]]:
        return 429, {"RateLimit-Remaining": "0", "RateLimit-Reset": str(math.ceil(time.time() + seconds))}

    def _is_known(self, request: web.Request) -> bool:
        return bool(self._token) and request.headers.get("Authorization") == f"Bearer {self._token}"


def _incident_in(record: dict) -> int | None:
    """The incident that the link of a post leads to."""
    links = [feature["uri"] for facet in record.get("facets", []) for feature in facet["features"]]
    found = re.search(r"[?&]incident=(\d+)$", links[0]) if links else None
    return None if found is None else int(found[1])


def graphemes(text: str) -> list[str]:
    """User-perceived characters: marks, joiners and what they join belong to the one before."""
    found: list[str] = []
    for c in text:
        is_joined = bool(found) and (found[-1].endswith("\u200d") or c in "\u200d\ufe0f" or "\u0300" <= c <= "\u036f")
        if is_joined:
            found[-1] += c
        else:
            found.append(c)
    return found


def _refuse(error: str, message: str, status: int = 400) -> web.Response:
    return web.json_response({"error": error, "message": message}, status=status)
