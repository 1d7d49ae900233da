"""Fetch a revision of the data from DVC."""

from kfp import dsl

from components.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def fetch_data(data: dict, commit: str, run: dict, prepared: dsl.Output[dsl.Dataset]):  # type: ignore[no-untyped-def]
    """Bring exactly one revision of the prepared data, never the working folder's.

    Args:
        data: DataConfig.
        commit: the commit to read, whatever revision `data` names.
        run: RunSettings.
        prepared: the data set, with its revision and digest in the metadata.
    """
    from pathlib import Path

    from components.step import step
    from eve_core.config import DataConfig
    from eve_core.data.prepared import PreparedData
    from eve_core.data.versioning import fetch, resolve_revision

    config = DataConfig.model_validate({**data, "revision": commit})
    with step("fetch-data", run, outputs=[prepared.path], params={"commit": commit}) as current:
        fetched = PreparedData.open(fetch(resolve_revision(config), Path(prepared.path), config.remote))
        current.reads(commit, fetched.digest)
        prepared.metadata.update(revision=commit, digest=fetched.digest)
