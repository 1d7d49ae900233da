"""The report that a validation is compared with: the newest one of other data in the same experiment."""

from pathlib import Path

from eve_core.quality.statistics import STATISTICS
from eve_core.registry.tracking import DATA_DIGEST_TAG, STEP_TAG, StepRun


def previous_report(run: StepRun, step: str, artifact: str, data_digest: str, folder: Path) -> Path | None:
    """Fetch the statistics of the newest finished run of `step` on data of another digest.

    Args:
        run: the running step, in whose experiment to look.
        step: its name.
        artifact: under which name a report is kept with its run.
        data_digest: of the data that is validated now.
        folder: where to put the statistics.

    Returns:
        A folder with statistics.json; None when there is no such run, or it kept none.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    found = run.tracking.client.search_runs(
        [run.tracking.experiment_id],
        f"attributes.status = 'FINISHED' and tags.`{STEP_TAG}` = '{step}' "
        f"and tags.`{DATA_DIGEST_TAG}` != '{data_digest}'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    if not found:
        return None
    try:
        return Path(
            download_artifacts(
                run_id=found[0].info.run_id,
                artifact_path=f"{artifact}/{STATISTICS}",
                dst_path=str(folder),
                tracking_uri=run.tracking.uri,
            )
        ).parent
    except (MlflowException, OSError):  # a report of an earlier version has no statistics
        return None
