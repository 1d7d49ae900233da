"""Versions of a prepared folder: Git pins it by hash in `<path>.dvc`, DVC keeps the bytes in a cache and a remote.

A run resolves its configured revision to a commit once (`resolve_revision`) and from then on fetches exactly that
(`fetch`); `eve data prepare` makes a new one known (`publish`). The working folder of the repository is never read.
"""

from eve_core.data.versioning.fetching import fetch
from eve_core.data.versioning.publishing import publish
from eve_core.data.versioning.pushing import push
from eve_core.data.versioning.revision import DataRevision, resolve_revision

__all__ = ["DataRevision", "fetch", "publish", "push", "resolve_revision"]
