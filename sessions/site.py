"""The resources of a receive server's endpoints and tunnel, opened once per process."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import cast

from starlette.requests import HTTPConnection

from sessions.allocator import Allocator
from sessions.keeper import Keeper
from sessions.offload import Upstreams
from sessions.problems import ProblemError, not_found
from sessions.records import Session, Worker
from sessions.settings import Settings
from web.guard import unknown_caller
from web.keys import Caller, Keyring
from web.limits import Buckets, Proxies


@dataclass(frozen=True, slots=True)
class SessionSite:
    """The resources; also a `web.site.Site`."""

    settings: Settings
    allocator: Allocator
    keeper: Keeper
    upstreams: Upstreams
    keys: Keyring
    requests: Buckets
    failures: Buckets
    """Tokens for wrong keys and wrong session tokens; a client without tokens is refused unread."""
    proxies: Proxies

    @property
    def public_url(self) -> str:
        """Address at which clients reach this server, without a slash at its end; empty if not configured."""
        return self.settings.sessions_url.rstrip("/")

    @property
    def is_read_by_key(self) -> bool:
        """False, because some paths accept a session's token instead; on the others `require_key` asks for a key."""
        return False

    def require_key(self, caller: Caller) -> None:
        """Refuse callers without a key, if sessions need one.

        Raises:
            RefusedError: 401.
        """
        if caller.name is None and self.settings.sessions_ask == "key":
            raise unknown_caller("this takes a key: send Authorization: Bearer KEY")

    def is_token(self, session_id: str, given: str) -> bool:
        """Whether this is that session's token; for a session that was passed on, its upstream server's."""
        session = self.allocator.backend.view.sessions.get(session_id)
        theirs = session.upstream_token if session is not None else ""
        is_theirs = bool(theirs) and hmac.compare_digest(theirs.encode(), given.encode("utf-8", "surrogatepass"))
        return self.allocator.tokens.is_token(session_id, given) or is_theirs

    async def signed_in_as(self, token_digest: str) -> str | None:
        """None: nobody signs in here, as clients are programs."""
        return None

    async def admit(self, session_id: str, token: str, peer: str) -> tuple[Session, Worker]:
        """See `tunnel.Doorkeeper`."""
        if not session_id:
            raise ProblemError(
                404, "not_found", "there is no WebSocket at this path", "connect to the url of a session"
            )
        if wait_s := self.failures.wait(peer):
            raise ProblemError(
                429, "rate", "too many wrong tokens", f"try again in {wait_s:.0f} s", {"Retry-After": f"{wait_s:.0f}"}
            )
        if not self.is_token(session_id, token):
            self.failures.take(peer)
            raise ProblemError(
                401, "token", "this is not the token of that session",
                "send Authorization: Bearer TOKEN, or offer the subprotocol bongsu.token.TOKEN",
            )  # fmt: skip
        if session_id not in self.allocator.backend.view.sessions:
            raise not_found(session_id)
        session = await self.allocator.ready(session_id, self.settings.sessions_wait_s)
        worker = self.allocator.backend.view.worker_of(session)
        is_served = worker is not None and worker.state == "ready"
        if session.upstream and not is_served:
            remedy = f"connect to {session.upstream_url}"
            raise ProblemError(421, "elsewhere", "this session is on an upstream server", remedy)
        if worker is None or not is_served:
            remedy = f"ask GET /sessions/{session_id} for its place"
            raise ProblemError(503, "waiting", f"session {session_id} has no worker yet", remedy)
        return session, worker


def site_of(connection: HTTPConnection) -> SessionSite:
    """The resources of the server that a request came to."""
    return cast(SessionSite, connection.app.state.site)


def caller_of(connection: HTTPConnection) -> Caller:
    """Whose key a request has, as the guard found."""
    return cast(Caller, connection.scope["bongsu.caller"])
