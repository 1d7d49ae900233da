"""One retraining of a config at a time."""

import contextlib
import fcntl
from collections.abc import Iterator

from eve_core.config import RunConfig
from eve_core.errors import UserError

SKIPPED = "Skipped"
"""State of a flow run that found another going on."""


class Busy(UserError):
    """Another retraining of the config goes on."""


@contextlib.contextmanager
def alone(config: RunConfig) -> Iterator[None]:
    """Keep other retrainings of the config out.

    Not by a deployment's limit of one run: Prefect gives the slot of a run that waits for approval to the next, and
    ends a run that cannot renew its slot, be it because it waited, or because the server is away at that moment.

    Raises:
        Busy: one goes on.
    """
    folder = config.shared_workspace()
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"retraining-{config.name}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"another retraining of {config.name} goes on in {folder}; wait for it to end") from None
        yield
