"""The project's own container images, one a role; every component runs on one of them and installs nothing."""

import os

_VERSION = "0.1.0"

DATA_IMAGE = os.environ.get("EVE_DATA_IMAGE", f"eve-workflow-data-python:{_VERSION}")
"""Processor only: data, gates, registry."""
TRAIN_IMAGE = os.environ.get("EVE_TRAIN_IMAGE", f"eve-workflow-train-python:{_VERSION}")
"""With CUDA: training and scoring."""
IMAGES = {
    "data": DATA_IMAGE,
    "train": TRAIN_IMAGE,
    # No step runs on these: MLflow's and Prefect's servers; the worker that starts runs, and promotes what is approved,
    # for which it has to serve it.
    "services": os.environ.get("EVE_SERVICES_IMAGE", f"eve-workflow-services-python:{_VERSION}"),
    "worker": os.environ.get("EVE_WORKER_IMAGE", f"eve-workflow-worker-python:{_VERSION}"),
}
"""By role."""
