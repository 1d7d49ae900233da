"""MLflow: tracked runs, registered models with their blessings, and the champion alias."""
