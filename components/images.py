"""The project's own container images, one a role; every component runs on one of them and installs nothing."""

import os

_VERSION = "0.1.0"

DATA_IMAGE = os.environ.get("EVE_DATA_IMAGE", f"eve-workflow-data-python:{_VERSION}")
"""Processor only: data, gates, registry."""
TRAIN_IMAGE = os.environ.get("EVE_TRAIN_IMAGE", f"eve-workflow-train-python:{_VERSION}")
"""With CUDA: training and scoring."""
WORKFLOW_IMAGE = os.environ.get("EVE_WORKFLOW_IMAGE", f"eve-workflow-workflow-python:{_VERSION}")
"""Starts runs and keeps schedules; no step runs on it."""
IMAGES = {"data": DATA_IMAGE, "train": TRAIN_IMAGE, "workflow": WORKFLOW_IMAGE}
"""By role."""
