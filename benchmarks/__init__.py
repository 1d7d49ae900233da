"""Measurements of speed and memory: one module a table, run as `python -m benchmarks.NAME`."""
