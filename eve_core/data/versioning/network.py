"""Remotes over a network: what passes by itself is waited out, visibly."""

import errno
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")

WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before the second, third, fourth and fifth attempt."""
_CONNECT_SECONDS = 10
# How s3fs reports a server that is overloaded or broken, or an answer that it does not know.
_SERVER_ERRORS = (errno.EIO, errno.EREMOTEIO, errno.EBUSY, errno.ETIMEDOUT)


def patiently(work: Callable[[], Result]) -> Result:
    """Do `work`, and do it again after a pause while the network or the server fails; each failure is a line on stderr.

    Args:
        work: goes on where it was when it is called again.

    Raises:
        Exception: the failure of the last attempt, or the first that will not pass by itself.
    """
    from tqdm.auto import tqdm

    for wait in WAITS:
        try:
            return work()
        except Exception as error:
            if not may_pass(error):
                raise
            tqdm.write(f"the remote failed ({reason(error)}); trying again in {wait:g} s", file=sys.stderr)
            time.sleep(wait)
    return work()


def may_pass(error: BaseException) -> bool:
    """Whether a failure is the network's or a server's, so that the same request may succeed later."""
    from aiohttp import ClientError
    from botocore.exceptions import ConnectionError as NoConnection
    from botocore.exceptions import HTTPClientError, IncompleteReadError
    from botocore.parsers import ResponseParserError

    if isinstance(error, ClientError | NoConnection | HTTPClientError | IncompleteReadError | ResponseParserError):
        return True
    if not isinstance(error, OSError) or error.filename is not None:  # of this machine's disk
        return False
    return isinstance(error, ConnectionError | TimeoutError) or error.errno in _SERVER_ERRORS


def reason(error: BaseException) -> str:
    """What an error says, on one line."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(said.split()) or type(error).__name__


def fail_at_once(fs: Any) -> None:
    """Switch off what an S3 file system retries on its own: it does so unseen, and for minutes when nobody answers."""
    if fs.protocol != "s3":
        return
    settings = fs.fs_args.setdefault("config_kwargs", {})
    settings["retries"] = {"total_max_attempts": 1}
    settings.setdefault("connect_timeout", _CONNECT_SECONDS)
    fs.fs.retries = 1
