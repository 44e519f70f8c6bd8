"""Migrations from each schema version to the next; `bongsu db upgrade` applies them with Alembic.

A migration is one file in `versions/`, named by its number. The previous release must keep working after it, as both
run during a rolling update. `schema.py` is the result of all migrations, and a test checks that the two match.
"""
