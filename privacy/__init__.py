"""Redaction of pictures: the only package that creates `Redacted` and `Drawn`."""
