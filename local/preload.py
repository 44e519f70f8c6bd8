"""Imported once, by the process that all replicas are forked from: what they share is loaded and paid for here.

Nothing here may start a thread or an event loop, or open a file: a fork would copy it half alive. The runner's
environment keeps the libraries below from it.
"""

from __future__ import annotations

import gc
import importlib
import os

from local import leash
from local.nursery import PRELOAD

# Modules that functions import only when they need them, to start quickly on a cluster. A fork inherits them instead.
# That a session opened after the fork infers is a test (onnxruntime starts its threads with the session, not before).
_LATE = (
    "functions.broker.sqlite",
    "functions.cli",  # the main module of `bongsu`, which multiprocessing imports again in each child
    "functions.runtime",
    "numpy",
    "cv2",
    "onnxruntime",
    "sqlalchemy.ext.asyncio",
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "aiosqlite",
    "obstore.store",
)


def _load(names: str) -> None:
    leash.name_process("nursery")
    leash.share_metrics()
    for name in filter(None, [*_LATE, *names.split(",")]):
        try:
            importlib.import_module(name)
        except (Exception, SystemExit):  # whatever a user's file does at import; its replica says it
            continue
    # Objects made so far never go away, so the collector need not touch, and thereby copy, their pages.
    gc.collect()
    gc.freeze()


_load(os.environ.get(PRELOAD, ""))
