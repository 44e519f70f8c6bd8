"""A node's own token, which opens the fleet's gateway to it; and its reports there, for nodes that SSH does not reach.

`~/.bongsu/gateway/report.pyz`, which cron or a timer runs, is this package with `report` as its start.
"""

from __future__ import annotations

import base64
import json
import ssl
import sys
import time
import urllib.error
import urllib.request
from typing import Any

from edge.node.health import take_sample
from edge.node.messages import HOME, Refused, write

FOLDER = HOME / "gateway"
_TIMEOUT_S = 30


def install_token(request: dict[str, Any]) -> dict[str, Any]:
    """Store this node's token, and where it is used; only the user who owns `~/.bongsu` can read it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    known = {"node": request["node"], "url": request["url"], "ca": request["ca"]}
    write(FOLDER / "gateway.json", json.dumps(known).encode())
    write(FOLDER / "token", request["token"].encode())
    write(FOLDER / "report.pyz", base64.b64decode(request["reporter"]))
    return {"path": str(FOLDER)}


def own_authorization(url: str) -> str:
    """The `Authorization` header for a request to the gateway, and for no other address."""
    known, token = _read()
    if not url.startswith(f"{known['url']}/"):
        raise Refused(f"this node's token is for {known['url']}: bongsu nodes token {known['node']} makes a new one")
    return f"Bearer {token}"


def report() -> int:
    """Send one report; the exit status."""
    try:
        known, token = _read()
        if not known["url"]:
            raise Refused("the fleet has no gateway: BONGSU_FLEET_GATEWAY, then bongsu nodes token NAME")
        _send(known, token, {"clock": time.time(), "health": take_sample()})
    except urllib.error.HTTPError as error:
        print(f"the gateway refused the report: HTTP {error.code}", file=sys.stderr)
        return 1
    except (Refused, OSError) as error:
        print(f"no report was sent: {getattr(error, 'reason', error)}", file=sys.stderr)
        return 1
    return 0


def _send(known: dict[str, Any], token: str, content: dict[str, Any]) -> None:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    body = json.dumps(content).encode()
    request = urllib.request.Request(f"{known['url']}/nodes/{known['node']}/report", body, headers, method="POST")
    context = ssl.create_default_context(cadata=known["ca"])
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S, context=context):
        pass


def _read() -> tuple[dict[str, Any], str]:
    try:
        known = json.loads((FOLDER / "gateway.json").read_text())
        return known, (FOLDER / "token").read_text()
    except (OSError, ValueError):
        raise Refused("this node has no token of its own: bongsu nodes token NAME issues one") from None
