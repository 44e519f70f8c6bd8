"""Measurements behind docs/benchmarks.md; `make bench` runs all of them."""
