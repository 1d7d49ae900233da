"""The training pipeline: its DAG, and compiling, checking and running it."""
