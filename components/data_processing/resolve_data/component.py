"""Resolve the data revision that a run reads."""

from kfp import dsl

from components.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def resolve_data(data: dict, run: dict) -> str:
    """Turn a branch, a tag or HEAD into the commit it names now; everything after reads that commit. Never cached.

    Args:
        data: DataConfig.
        run: RunSettings.

    Returns:
        The commit.
    """
    from components.step import step
    from eve_core.config import DataConfig
    from eve_core.data.versioning import resolve_revision

    config = DataConfig.model_validate(data)
    with step("resolve-data", run, params={"repository": config.repository, "revision": config.revision}) as current:
        commit = resolve_revision(config).commit
        current.run.set_tags({"eve.data_revision": commit})
    return commit
