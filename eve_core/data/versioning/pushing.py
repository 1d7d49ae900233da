"""Copying a revision of the data to the remote."""

from eve_core.config.data import RemoteConfig
from eve_core.data.versioning.git import refuse_url
from eve_core.data.versioning.revision import DataRevision
from eve_core.data.versioning.stores import held, lacking, missing_content, open_stores, send


def push(revision: DataRevision, remote: RemoteConfig | None = None) -> int:
    """Copy what the remote lacks of a revision from DVC's cache to it.

    Files that are there stay as they are, so that an interrupted push goes on where it was.

    Args:
        revision: from `resolve_revision`.
        remote: the DVC remote; the repository's default when None.

    Returns:
        How many files it lacked.

    Raises:
        UserError: the repository is a URL; what the remote lacks is not in the cache; the remote does not answer or
            refuses access.
    """
    refuse_url(revision.repository)
    with open_stores(revision.repository, remote, f"pushing {revision}") as stores:
        listing = stores.listing(revision)
        absent = lacking(stores.remote, listing)
        if absent - held(stores.cache, absent):
            raise missing_content(revision)
        return send("pushing data", stores.cache, stores.remote, listing)
