"""The workflow on real servers on one machine."""
