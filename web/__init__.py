"""Shared by all HTTP services: keys and roles, limits, the guard in front of the endpoints, answers."""
