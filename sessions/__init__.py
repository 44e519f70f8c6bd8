"""A model on demand: one client, one worker, one WebSocket; `python -m sessions.server` answers who asks for one."""
