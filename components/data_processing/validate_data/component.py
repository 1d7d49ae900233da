"""Check the data."""

from kfp import dsl

from components.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def validate_data(prepared: dsl.Input[dsl.Dataset], validation: dict, run: dict, report: dsl.Output[dsl.Artifact]):  # type: ignore[no-untyped-def]
    """Run the Great Expectations suites; a failing expectation fails the step and names itself and the rows.

    Args:
        prepared: the data set.
        validation: ValidationConfig.
        run: RunSettings.
        report: folder with report.json and the data docs (index.html).
    """
    from pathlib import Path

    from components.step import step
    from eve_core.config import ValidationConfig
    from eve_core.data.prepared import PreparedData
    from eve_core.quality import validate_data as validate

    with step("validate-data", run, inputs=[prepared.path], outputs=[report.path], params=validation) as current:
        outcome = validate(
            PreparedData.open(prepared.path), ValidationConfig.model_validate(validation), Path(report.path)
        )
        current.run.log_artifact(report.path)
        outcome.raise_if_failed()
