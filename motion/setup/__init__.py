"""Finds cameras and takes them over from other systems: `bongsu cameras discover` and `bongsu cameras import`."""
