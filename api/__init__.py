"""The map API: incidents, feeds, live stream and the page that shows them; `python -m api.server` serves it."""
