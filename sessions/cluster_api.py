"""Calls to a cluster's API server, with its errors as errors of this room; the Kubernetes backend uses it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar

import httpx2
import msgspec
from lightkube import ApiError, AsyncClient
from lightkube.core.resource import NamespacedResource

from sessions.records import BackendError, ConflictError, ExistsError, NoRoomError

T = TypeVar("T")
R = TypeVar("R", bound=NamespacedResource)


async def create(call: Awaitable[T]) -> T:
    """Create an object.

    Raises:
        ExistsError, NoRoomError, BackendError: as `ask` does.
    """
    try:
        return await ask(call)
    except ConflictError as error:
        # Two creations counted against one quota at once, or the namespace is about to end: both pass.
        raise BackendError(f"the API server: {error}") from None


async def ask(call: Awaitable[T]) -> T:
    """Read, change or delete an object.

    Raises:
        ExistsError: the name is taken.
        ConflictError: it has changed since that version, or does not exist.
        NoRoomError: a quota is full.
        BackendError: anything else, such as a missing permission.
    """
    try:
        return await call
    except ApiError as error:
        code, word = error.status.code, error.status.message or ""
        if code == 409 and error.status.reason == "AlreadyExists":
            raise ExistsError(word) from None
        if code in (404, 409):
            raise ConflictError(word) from None
        if code == 403 and "exceeded quota" in word:
            raise NoRoomError(word) from None
        raise _unanswered(error) from None
    except (httpx2.HTTPError, msgspec.DecodeError) as error:
        raise _unanswered(error) from None


async def list_all(client: AsyncClient, resource: type[R], labels: dict[str, Any] | None = None) -> list[R]:
    """All objects of a resource in the client's namespace, or those with all of these labels.

    Raises:
        BackendError: the API server refuses or does not answer.
    """
    try:
        return [item async for item in client.list(resource, labels=labels)]
    except (httpx2.HTTPError, msgspec.DecodeError) as error:
        raise _unanswered(error) from None


def _unanswered(error: Exception) -> BackendError:
    return BackendError(f"the API server: {str(error) or type(error).__name__}")
