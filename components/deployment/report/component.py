"""Report what a run did, whatever happened."""

from kfp import dsl

from components.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def report(status: dsl.PipelineTaskFinalStatus, run: dict, config: dict, page: dsl.Output[dsl.HTML]):  # type: ignore[no-untyped-def]
    """End the run's MLflow record, write its report, and tell people. Runs last, after a failure too.

    Args:
        status: how the run ended.
        run: RunSettings.
        config: the whole RunConfig.
        page: the report.
    """
    from pathlib import Path

    from components.step import pipeline_run_key, wait_for_mlflow
    from eve_core.config import RunConfig, RunSettings
    from eve_core.errors import explain
    from eve_core.registry.tracking import DATA_DIGEST_TAG, StepRun, finish_pipeline_run, parent_run
    from eve_core.report import collect, message, notify, write_page

    wait_for_mlflow()
    settings = RunSettings.model_validate(run)
    key = pipeline_run_key()
    whole = RunConfig.model_validate({**config, "registry": settings.registry})
    succeeded = status.state == "SUCCEEDED"
    try:
        summary = collect(settings.registry, key)
        write_page(summary, whole, Path(page.path))
        parent = parent_run(settings.registry, key)
        parent.log_page(page.path, "report")
        parent.log_metrics({**summary.metrics(), "node_hours": summary.node_hours(whole)})
        if "fetch-data" in summary.steps:  # the first step ended before the data was here, and fetching may be reused
            digest = {DATA_DIGEST_TAG: summary.steps["fetch-data"].tags.get(DATA_DIGEST_TAG, "")}
            for run_id in (parent.run_id, summary.steps["resolve-data"].run_id):
                StepRun(parent.tracking, run_id).set_tags(digest)
        finish_pipeline_run(settings.registry, key, succeeded=succeeded)
    except Exception as error:
        ended = f"EVE run {key} {'ended' if succeeded else 'FAILED'}"
        print(notify(whole.notification, f"{ended}, and its report failed: {explain(error, 'report')}"))
        raise
    print(notify(whole.notification, message(summary, succeeded=succeeded)))
