"""The map: incidents, their store, the API and its page."""
