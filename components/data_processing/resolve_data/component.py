"""Resolve the data revision that a run reads."""

from kfp import dsl

from components.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def resolve_data(data: dict, revision: str, run: dict, config: dict, git_revision: str) -> str:
    """Turn a branch, a tag or HEAD into the commit it names now; everything after reads that commit. Never cached.

    As the first step it also records on the pipeline run what the whole run was given.

    Args:
        data: DataConfig.
        revision: to read in place of the one that `data` names; empty for that.
        run: RunSettings.
        config: the whole RunConfig, for the record.
        git_revision: commit of the code.

    Returns:
        The commit.
    """
    from components.step import pipeline_run_key, step
    from eve_core.config import DataConfig, RunConfig, flat
    from eve_core.data.versioning import resolve_revision
    from eve_core.registry.tracking import CONFIG_DIGEST_TAG, parent_run

    with step("resolve-data", run, params=data) as current:
        parent = parent_run(current.settings.registry, pipeline_run_key())
        parent.log_params(flat(config))
        parent.set_tags(
            {
                "eve.git_revision": git_revision,
                "eve.code_digest": current.settings.code_digest,
                CONFIG_DIGEST_TAG: RunConfig.model_validate(config).digest(),
            }
        )
        wanted = DataConfig.model_validate({**data, "revision": revision} if revision else data)
        commit = resolve_revision(wanted).commit
        for record in (parent, current.run):
            record.set_tags({"eve.data_revision": commit})
    return commit
