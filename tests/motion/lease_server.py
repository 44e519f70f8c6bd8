"""A double of Kubernetes' API server, for Leases alone: over HTTP, as strict as the real one where motion could err."""

from __future__ import annotations

import contextlib
import copy
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import kubernetes_validate

NAMESPACE = "bongsu"
TOKEN = "the-token-of-motion"
_PATH = re.compile(r"/apis/coordination\.k8s\.io/v1/namespaces/([^/]+)/leases(?:/([^/]+))?")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


class LeaseServer:
    """Keeps Leases; can be set to be down, or to allow less."""

    def __init__(self) -> None:
        self.leases: dict[str, dict[str, Any]] = {}
        self.verbs = {"list", "create", "update"}
        self.is_away = False
        self.asked: list[tuple[str, int]] = []
        self._lock = threading.Lock()
        self._version = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if server.is_away:
                    self.close_connection = True
                    return
                with server._lock:
                    token = self.headers.get("Authorization")
                    status, answer = server._answer(self.command, self.path, token, body)
                    server.asked.append((self.command, status))
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # a worker that is killed waits for no answer
                    self.wfile.write(data)

            do_GET = do_POST = do_PUT = _serve  # noqa: N815

            def log_message(self, *args: object) -> None:
                """Nothing: a failed test says what was asked."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def account(self, folder: Path) -> Path:
        """The folder that the kubelet mounts into a pod."""
        folder.mkdir(exist_ok=True)
        (folder / "token").write_text(TOKEN)
        (folder / "namespace").write_text(NAMESPACE)
        return folder

    def holders(self) -> set[str]:
        return {lease["spec"]["holderIdentity"] for lease in self.leases.values()}

    def _answer(self, method: str, path: str, token: str | None, body: bytes) -> tuple[int, dict[str, Any]]:
        url = urlparse(path)
        found = _PATH.fullmatch(url.path)
        if token != f"Bearer {TOKEN}":
            return _status(401, "Unauthorized")
        if found is None:
            return _status(404, "no such path")
        verb = {"GET": "get" if found[2] else "list", "POST": "create", "PUT": "update"}[method]
        if found[1] != NAMESPACE or verb not in self.verbs:
            return _status(403, f"may not {verb} leases in {found[1]}")
        if verb == "list":
            wanted = dict(
                pair.split("=") for text in parse_qs(url.query).get("labelSelector", []) for pair in text.split(",")
            )
            items = [x for x in self.leases.values() if wanted.items() <= x["metadata"].get("labels", {}).items()]
            return 200, {"kind": "LeaseList", "apiVersion": "coordination.k8s.io/v1", "items": copy.deepcopy(items)}
        lease = json.loads(body)
        name = lease["metadata"]["name"]
        if name not in self.leases:  # to check a schema takes a tenth of a second: once is enough
            kubernetes_validate.validate(lease, "1.33.0", strict=True)
            kubernetes_validate.validate(lease, "1.36.0", strict=True)
        assert all(_TIME.fullmatch(lease["spec"][key]) for key in ("acquireTime", "renewTime")), lease
        refused = self._refused_create(lease, found[2]) if verb == "create" else self._refused_update(lease, found[2])
        if refused is not None:
            return refused
        self._version += 1
        lease["metadata"]["resourceVersion"] = str(self._version)
        self.leases[name] = lease
        return (201 if verb == "create" else 200), lease

    def _refused_create(self, lease: dict[str, Any], path: str | None) -> tuple[int, dict[str, Any]] | None:
        if path or lease["metadata"].get("resourceVersion"):
            return _status(400, "a new object has no resourceVersion, and is posted to the collection")
        return _status(409, "AlreadyExists") if lease["metadata"]["name"] in self.leases else None

    def _refused_update(self, lease: dict[str, Any], path: str | None) -> tuple[int, dict[str, Any]] | None:
        kept = self.leases.get(lease["metadata"]["name"])
        if path != lease["metadata"]["name"]:
            return _status(400, "the name of the path and of the object differ")
        if kept is None:
            return _status(404, "NotFound")
        if lease["metadata"].get("resourceVersion") != kept["metadata"]["resourceVersion"]:
            return _status(409, "Conflict: the object has been modified")
        return None


def _status(code: int, message: str) -> tuple[int, dict[str, Any]]:
    return code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}
