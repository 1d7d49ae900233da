"""One retraining of a config at a time."""

import contextlib
import fcntl
from collections.abc import Iterator

from eve_core.config import RunConfig
from eve_core.errors import UserError


@contextlib.contextmanager
def alone(config: RunConfig) -> Iterator[None]:
    """Keep other retrainings of the config on this machine out; a deployment's concurrency limit keeps out the rest.

    Raises:
        UserError: one goes on.
    """
    folder = config.workspace.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"retraining-{config.name}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another retraining of {config.name} goes on in {folder}; wait for it to end") from None
        yield
