"""How the project's own processes end."""

import atexit
import ctypes
import gc
import signal
import sys

_SET_PARENT_DEATH_SIGNAL = 1


def end_without_collection() -> None:
    """Have this process end at once: Python looks for garbage among all that was imported, which takes seconds."""
    atexit.register(gc.freeze)


def end_with_parent() -> None:
    """Have this process killed when the one that started it ends, however it does; on Linux alone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
