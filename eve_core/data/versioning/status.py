"""How a revision of the data, its stores and the prepared folder stand to one another."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eve_core.config import DataConfig
from eve_core.data.manifest import MANIFEST_NAME
from eve_core.data.prepared import PreparedData
from eve_core.data.versioning.contents import Contents
from eve_core.data.versioning.git import is_url
from eve_core.data.versioning.refusals import explained
from eve_core.data.versioning.revision import DataRevision, pinned_md5, resolve_revision
from eve_core.data.versioning.stores import Stores, held, md5_of, open_stores
from eve_core.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table


def data_status(config: DataConfig, prepared: Path) -> dict[str, str]:
    """What there is to know about the configured revision: a sentence each about its parts.

    A remote that does not answer, or content that is gone, is such a sentence.

    Args:
        config: the repository, the path in it, the revision and the remote.
        prepared: the folder that `eve data prepare` writes.

    Raises:
        UserError: the repository or the revision is none.
    """
    revision = resolve_revision(config)
    found = {
        "revision": f"{config.revision} is commit {revision.commit} of {revision.repository}",
        "pinned there": f"{revision.path}.dvc, md5 {revision.dvc_md5}",
    }
    if not is_url(revision.repository):
        found["pinned in the working folder"] = _working_pin(revision)
    with open_stores(revision.repository, config.remote, f"reading {revision}", revision.commit) as stores:
        try:
            with explained("not known"):
                contents = Contents(revision, stores)
        except UserError as error:
            found["digest"] = str(error)
        else:
            found["cache"] = _said(lambda: _held(stores.cache, contents.md5s))
            found["remote"] = _said(lambda: f"{_held(stores.remote, contents.md5s)} ({stores.remote_url})")
            found["digest"] = _said(lambda: contents.manifest.digest)
        found["prepared folder"] = f"{prepared} {_said(lambda: _compare(revision, stores, found['digest'], prepared))}"
    return found


def status_table(status: dict[str, str]) -> "Table":
    """A status for people."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("", "", show_header=False)
    table.columns[-1].overflow = "fold"
    for subject, sentence in status.items():
        table.add_row(subject, escape(sentence))
    return table


def _said(look: Callable[[], str]) -> str:
    """What `look` finds, or why it finds nothing."""
    try:
        with explained("not known"):
            return look()
    except UserError as error:
        return str(error)


def _held(store: Any, md5s: set[str]) -> str:
    absent = md5s - held(store, md5s)
    return f"lacks {len(absent)} of {len(md5s)} files" if absent else f"has all {len(md5s)} files"


def _working_pin(revision: DataRevision) -> str:
    pin = Path(revision.repository) / f"{revision.path}.dvc"
    if not pin.is_file():
        return f"{pin.name} is not there"
    md5 = _said(lambda: pinned_md5(pin.read_text(encoding="utf-8"), str(pin)))
    return "the same" if md5 == revision.dvc_md5 else f"another: md5 {md5}"


def _compare(revision: DataRevision, stores: Stores, digest: str, prepared: Path) -> str:
    if not (prepared / MANIFEST_NAME).is_file():
        return "holds no prepared data"
    if md5_of(stores.repo, prepared) == revision.dvc_md5:  # DVC remembers the md5s of files that have not changed
        return "is this revision"
    try:
        data = PreparedData.open(prepared, verify=True)
    except UserError as error:
        return f"was changed since it was prepared: {error}"
    return "holds this data and other files" if data.digest == digest else f"holds other data, digest {data.digest}"
