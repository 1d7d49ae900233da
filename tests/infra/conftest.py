"""The small run of the pipeline's tests."""

from tests.pipelines.conftest import tiny_run

__all__ = ["tiny_run"]
