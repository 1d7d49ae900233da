"""Pipelines: the Kubeflow DAG that trains, and the Prefect flow that decides when."""
