"""Steps from each schema of the database to the next; `bongsu db upgrade` takes them, by Alembic.

A step is one file in `versions/`, named by its number. It must leave the release before it working, for while a cluster
is rolled over both run. `schema.py` shows the sum of all steps, and a test holds the two together.
"""
