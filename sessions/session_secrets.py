"""Sessions as Kubernetes Secrets, one for each, because a session may have the token of an upstream server.

A Secret, not an annotation of the worker, because a session in line has no worker; and because it owns its workers:
when any client deletes it, the garbage collector ends them.
"""

from __future__ import annotations

import base64

import msgspec
from lightkube.models.meta_v1 import ObjectMeta, OwnerReference
from lightkube.resources.core_v1 import Secret
from msgspec.structs import replace

from sessions.records import BackendError, Session

RECORD_LABEL = "bongsu/record"
RECORD_LABELS = {RECORD_LABEL: "session"}
_KEY = "session.json"


def secret_name(session_id: str) -> str:
    """The name of a session's Secret."""
    return f"session-{session_id}"


def to_secret(session: Session) -> Secret:
    """A session as a Secret; `version` 0 is a new one."""
    return Secret(
        metadata=ObjectMeta(
            name=secret_name(session.id),
            labels={**RECORD_LABELS, "app.kubernetes.io/part-of": "bongsu"},
            resourceVersion=str(session.version) if session.version else None,
        ),
        type="bongsu/session",
        data={_KEY: base64.b64encode(msgspec.json.encode(replace(session, version=0))).decode()},
    )


def from_secret(secret: Secret) -> Session:
    """The session that a Secret records.

    Its place in the order of all sessions is the version at its creation. The API server does not keep that, so the
    first change stores it.

    Raises:
        BackendError: it is not such a record.
    """
    meta = secret.metadata
    assert meta is not None
    try:
        session = msgspec.json.decode(base64.b64decode((secret.data or {})[_KEY]), type=Session)
    except (KeyError, ValueError, msgspec.DecodeError) as error:
        raise BackendError(f"secret {meta.name} is not a session ({error}): delete it") from None
    version = int(meta.resourceVersion or 0)
    return replace(session, version=version, order=session.order or version)


def owned_by(secret: Secret) -> OwnerReference:
    """The owner reference by which an object is deleted with this session."""
    meta = secret.metadata
    assert meta is not None
    return OwnerReference(apiVersion="v1", kind="Secret", name=meta.name or "", uid=meta.uid or "")
