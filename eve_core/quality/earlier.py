"""Statistics of earlier validations, read back from MLflow."""

from pathlib import Path

from eve_core.config import RegistryConfig
from eve_core.quality.statistics import STATISTICS
from eve_core.registry.tracking import DATA_DIGEST_TAG, STEP_TAG, Tracking, open_experiment

STEP = "validate-data"
REPORT = "report"
"""Under which name a step keeps its report."""


def previous_statistics(config: RegistryConfig, data_digest: str, folder: Path) -> Path | None:
    """The statistics of the newest finished validation of other data.

    Args:
        config: the registry section.
        data_digest: of the data that is validated now.
        folder: where to put them.

    Returns:
        A folder with statistics.json; None when there was no such validation, or it kept none.
    """
    return _statistics(open_experiment(config), f"tags.`{DATA_DIGEST_TAG}` != '{data_digest}'", folder)


def statistics_of_data(config: RegistryConfig, data_digest: str, folder: Path) -> Path | None:
    """The statistics of the newest finished validation of just this data; see `previous_statistics`."""
    return _statistics(open_experiment(config), f"tags.`{DATA_DIGEST_TAG}` = '{data_digest}'", folder)


def _statistics(tracking: Tracking, condition: str, folder: Path) -> Path | None:
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    found = tracking.client.search_runs(
        [tracking.experiment_id],
        f"attributes.status = 'FINISHED' and tags.`{STEP_TAG}` = '{STEP}' and {condition}",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    if not found:
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Path(
            download_artifacts(
                run_id=found[0].info.run_id,
                artifact_path=f"{REPORT}/{STATISTICS}",
                dst_path=str(folder),
                tracking_uri=tracking.uri,
            )
        ).parent
    except (MlflowException, OSError):  # a report of an earlier version has no statistics
        return None
