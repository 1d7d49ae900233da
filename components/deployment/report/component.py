"""Report what a run did, whatever happened."""

from kfp import dsl

from components.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def report(status: dsl.PipelineTaskFinalStatus, run: dict, page: dsl.Output[dsl.HTML]):  # type: ignore[no-untyped-def]
    """End the run's MLflow record and write its report. Runs last, after a failure too.

    Args:
        status: how the run ended.
        run: RunSettings.
        page: the report.
    """
    from pathlib import Path

    from components.step import pipeline_run_key
    from eve_core.config import RunSettings
    from eve_core.registry.tracking import finish_pipeline_run, parent_run
    from eve_core.report import collect, write_page

    settings = RunSettings.model_validate(run)
    key = pipeline_run_key()
    summary = collect(settings.registry, key)
    write_page(summary, settings.registry, Path(page.path))
    parent_run(settings.registry, key).log_metrics(summary.metrics())
    finish_pipeline_run(settings.registry, key, succeeded=status.state == "SUCCEEDED")
