"""A model on demand: one client, one worker, one WebSocket; `python -m sessions.server` serves clients."""
