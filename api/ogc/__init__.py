"""Incidents and cameras by OGC API - Features, Part 1: GIS programs add them by the address of the landing page."""
