"""Incidents on roads, for navigation apps and traffic centres: Waze's CIFS and DATEX II."""
