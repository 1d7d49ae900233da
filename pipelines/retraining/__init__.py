"""Retraining: the Prefect flow that decides whether a run is due, and starts it."""

import os

# Read by Prefect when it is imported: this workflow reports to nobody.
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
