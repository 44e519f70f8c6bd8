"""Imported once, by the process that all others are forked from: it loads the modules that they share.

Nothing here may start a thread or an event loop, or open a file: a fork would copy it in an unusable state. The
environment of who starts it keeps the libraries below from doing so.
"""

from __future__ import annotations

import gc
import importlib
import os

from local.process import parent_watch
from local.process.fork_server import PRELOAD

# A function lists in LATE_IMPORTS what it imports late, to start quickly on a cluster, and a fork inherits those too.
# onnxruntime starts its threads with a session, not at import: a test checks that one opened after the fork works.


def _import(name: str) -> object:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit):  # a user's file may raise anything at import; its replica reports it
        return None


def _load(names: str) -> None:
    parent_watch.name_process("fork-server")
    parent_watch.share_metrics()
    for name in filter(None, names.split(",")):
        for late in getattr(_import(name), "LATE_IMPORTS", ()):
            _import(late)
    # Objects made so far are never freed, so the collector need not touch, and thereby copy, their pages.
    gc.collect()
    gc.freeze()


_load(os.environ.get(PRELOAD, ""))
