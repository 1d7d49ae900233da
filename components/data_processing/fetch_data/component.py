"""Fetch a revision of the data from DVC."""

from kfp import dsl

from components.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def fetch_data(revision: str, remote: str, run: dict, prepared: dsl.Output[dsl.Dataset]):  # type: ignore[no-untyped-def]
    """Bring exactly one revision of the prepared data, never the working folder's.

    Args:
        revision: DataRevision as JSON.
        remote: name of the DVC remote; empty for the repository's default.
        run: RunSettings.
        prepared: the data set, with its digest in the metadata.
    """
    import json
    from pathlib import Path

    from components.step import step
    from eve_core.data.prepared import PreparedData
    from eve_core.data.versioning import DataRevision, fetch

    wanted = DataRevision(**json.loads(revision))
    with step("fetch-data", run, outputs=[prepared.path], params=json.loads(revision)) as current:
        data = PreparedData.open(fetch(wanted, Path(prepared.path), remote or None))
        current.run.set_tags({"eve.data_revision": wanted.commit, "eve.data_digest": data.digest})
        prepared.metadata["digest"] = data.digest
