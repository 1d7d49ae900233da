"""What Git, DVC, the disk and remotes refuse, as the sentence that the user reads."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from eve_core.data.versioning.network import may_pass, reason
from eve_core.errors import UserError, explain_os_error


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn every refusal of the body into a UserError.

    Args:
        doing: how the sentence begins ("pushing data revision 1a2b3c").
    """
    from botocore.exceptions import BotoCoreError, NoCredentialsError, PartialCredentialsError
    from dvc.exceptions import DvcException
    from dvc.lock import LockError

    try:
        yield
    except UserError:
        raise
    except LockError:
        raise UserError(f"{doing}: another DVC command is running in that repository; wait for it to end") from None
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise UserError(f"{doing}: {reason(error)}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") from error
    except Exception as error:
        if may_pass(error):
            raise UserError(
                f"{doing}: the remote does not answer ({reason(error)}); what is done stays done, so run the same "
                "command again when it does"
            ) from error
        if isinstance(error, OSError):
            raise _of_disk_or_remote(error, doing) from error
        if isinstance(error, DvcException | BotoCoreError):
            raise UserError(f"{doing}: {reason(error)}") from error
        raise


def _of_disk_or_remote(error: OSError, doing: str) -> UserError:
    """A remote's answer names no file of this machine; a failed copy names two, and the second is the new one."""
    file = error.filename2 or error.filename
    if file or error.errno == errno.ENOSPC:
        return explain_os_error(OSError(error.errno, error.strerror, file), doing)
    if isinstance(error, PermissionError):
        return UserError(
            f"{doing}: the remote refuses access ({reason(error)}); check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and "
            "what they may do there"
        )
    return UserError(f"{doing}: {reason(error)}")
