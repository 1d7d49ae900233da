"""Check the data."""

from kfp import dsl

from components.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def validate_data(prepared: dsl.Input[dsl.Dataset], validation: dict, run: dict, report: dsl.Output[dsl.Artifact]):  # type: ignore[no-untyped-def]
    """Run the Great Expectations suites, set faulty rows apart, and look for drift since the last data revision.

    The step fails where a critical expectation does, where too many rows are faulty, or where drift is too large, and
    names what it was and the rows.

    Args:
        prepared: the data set.
        validation: ValidationConfig.
        run: RunSettings.
        report: folder with index.html, report.json, statistics.json, quarantine.parquet and the data docs.
    """
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from components.step import step
    from eve_core.config import ValidationConfig
    from eve_core.data.versioning.location import open_noted
    from eve_core.quality import validate_data as validate
    from eve_core.quality.earlier import STEP, previous_statistics
    from eve_core.registry.tracking import DATA_DIGEST_TAG

    folder = Path(report.path)
    with (
        step(STEP, run, inputs=[prepared.path], outputs=[report.path], params=validation) as current,
        TemporaryDirectory() as scratch,
    ):
        data = open_noted(prepared.path)
        current.run.set_tags({DATA_DIGEST_TAG: data.digest})
        previous = previous_statistics(current.settings.registry, data.digest, Path(scratch))
        outcome = validate(data, ValidationConfig.model_validate(validation), folder, previous=previous)
        current.run.log_artifact(folder)
        current.run.log_metrics({"warnings": len(outcome.warnings), "quarantined_rows": outcome.quarantined})
        outcome.raise_if_failed()
