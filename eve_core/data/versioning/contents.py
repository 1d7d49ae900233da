"""Reading files of a revision where they are, without bringing them here."""

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eve_core.config import DataConfig
from eve_core.data.manifest import MANIFEST_NAME, Manifest
from eve_core.data.versioning.network import patiently
from eve_core.data.versioning.revision import DataRevision, resolve_revision
from eve_core.data.versioning.stores import Stores, held, missing_content, open_stores
from eve_core.errors import UserError


def manifest_of(config: DataConfig) -> Manifest:
    """What the configured revision holds, without bringing it here.

    Raises:
        UserError: there is no such revision, or its manifest cannot be read.
    """
    revision = resolve_revision(config)
    with open_stores(revision.repository, config.remote, f"reading {revision}", revision.commit) as stores:
        return Contents(revision, stores).manifest


class Contents:
    """The files of a revision in the cache and, for what that lacks, on the remote.

    Args:
        revision: from `resolve_revision`.
        stores: its repository's.
    """

    def __init__(self, revision: DataRevision, stores: Stores) -> None:
        self.revision = revision
        self._stores = stores
        self._files = stores.files(revision)

    @property
    def md5s(self) -> set[str]:
        """Of all files, and of their list."""
        return {*self._files.values(), self.revision.dvc_md5}

    @cached_property
    def manifest(self) -> Manifest:
        """What the revision holds.

        Raises:
            UserError: it is in neither store, or of a format that this version does not read.
        """
        if not self.has(MANIFEST_NAME):
            raise missing_content(self.revision)

        def attempt() -> bytes:
            with self._open(MANIFEST_NAME) as file:
                return bytes(file.read())

        with tempfile.TemporaryDirectory(prefix="eve-manifest-") as folder:
            (Path(folder) / MANIFEST_NAME).write_bytes(patiently(attempt))
            try:
                return Manifest.read(Path(folder))
            except UserError as error:
                raise UserError(str(error).replace(folder, str(self.revision))) from None

    def has(self, path: str) -> bool:
        """Whether a file is in reach."""
        return self._files.get(path) in self._places

    def read(self, path: str, columns: Sequence[str]) -> pa.Table:
        """Columns of a shard that is in reach; of one on a remote only their bytes are transferred."""

        def attempt() -> pa.Table:
            with self._open(path) as file:
                return pq.ParquetFile(file).read([*columns])

        return patiently(attempt)

    def _open(self, path: str) -> Any:
        md5 = self._files[path]
        store = self._places[md5]
        # s3fs would read 50 MB ahead.
        options = {} if store is self._stores.cache or store.fs.protocol == "local" else {"cache_type": "none"}
        return store.fs.open(store.oid_to_path(md5), "rb", **options)

    @cached_property
    def _places(self) -> dict[str, Any]:
        """The store of every file in reach, by md5."""
        from dvc.config import NoRemoteError

        wanted = self.md5s
        places = dict.fromkeys(held(self._stores.cache, wanted), self._stores.cache)
        if elsewhere := wanted - {*places}:
            with suppress(NoRemoteError):
                places |= dict.fromkeys(patiently(lambda: held(self._stores.remote, elsewhere)), self._stores.remote)
        return places
