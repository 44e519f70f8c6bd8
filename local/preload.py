"""Imported once, by the process that all replicas are forked from: what they share is loaded and paid for here.

Nothing here may start a thread or an event loop, or open a file: a fork would copy it half alive. The runner's
environment keeps the libraries below from it.
"""

from __future__ import annotations

import gc
import importlib
import os

from local.fork_server import PRELOAD
from local.process import parent_watch

# What every replica needs. What a function imports only when it needs it, to start quickly on a cluster, it names in
# its LATE_IMPORTS, and a fork inherits that too. That a session opened after the fork infers is a test (onnxruntime
# starts its threads with the session, not before).
_COMMON = (
    "functions.broker.sqlite",
    "functions.cli",  # the main module of `bongsu`, which multiprocessing imports again in each child
    "functions.runtime",
)


def _import(name: str) -> object:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit):  # whatever a user's file does at import; its replica says it
        return None


def _load(names: str) -> None:
    parent_watch.name_process("fork-server")
    parent_watch.share_metrics()
    for name in filter(None, [*_COMMON, *names.split(",")]):
        for late in getattr(_import(name), "LATE_IMPORTS", ()):
            _import(late)
    # Objects made so far never go away, so the collector need not touch, and thereby copy, their pages.
    gc.collect()
    gc.freeze()


_load(os.environ.get(PRELOAD, ""))
