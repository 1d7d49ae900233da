"""Retraining: the Prefect flow that decides whether a run is due, and starts it."""
