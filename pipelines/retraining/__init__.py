"""Retraining: the Prefect flow that decides whether a run is due, and starts it."""

import os

# Read by Prefect when it is imported. This workflow reports to nobody.
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
# Its own server takes more than its 20 seconds to start on a busy machine.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
