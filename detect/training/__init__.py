"""Trains, exports, measures and calibrates detection networks; no service imports it."""
