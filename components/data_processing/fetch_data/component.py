"""Fetch a revision of the data from DVC."""

from kfp import dsl

from components.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def fetch_data(data: dict, commit: str, run: dict, prepared: dsl.Output[dsl.Dataset]):  # type: ignore[no-untyped-def]
    """Bring exactly one revision of the prepared data to the workspace, never the working folder's.

    Args:
        data: DataConfig.
        commit: the commit to read, whatever revision `data` names.
        run: RunSettings.
        prepared: where it is, and its digest; they are in the metadata, too.
    """
    from pathlib import Path

    from components.step import step
    from eve_core.config import DataConfig
    from eve_core.data.versioning.location import fetch_to_workspace

    config = DataConfig.model_validate({**data, "revision": commit})
    with step("fetch-data", run, outputs=[prepared.path], params={"commit": commit}) as current:
        fetched = fetch_to_workspace(config, current.settings.workspace, Path(prepared.path))
        current.reads(commit, fetched.digest)
        prepared.metadata.update(revision=commit, digest=fetched.digest, folder=str(fetched.path))
