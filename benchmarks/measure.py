"""Fair timing and peak memory: what every number of these benchmarks rests on."""

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import torch
from rich.console import Console
from rich.progress import track

from eve_core.errors import UserError
from eve_core.memory import keep_freed_memory

Item = TypeVar("Item")

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def precision(dtype: str, device: torch.device) -> AbstractContextManager[Any]:
    """What the forward pass runs under: float32 as it is, bfloat16 as in training, autocast over float32 weights."""
    return torch.autocast(device.type, dtype=DTYPES[dtype], enabled=dtype != "float32")


@dataclass(frozen=True)
class Timing:
    """How long each call of one contestant took."""

    seconds: tuple[float, ...]

    @property
    def best(self) -> float:
        """The shortest, in seconds: what the others lost, they lost to something else on the machine."""
        return min(self.seconds)

    @property
    def median(self) -> float:
        """The middle one, in seconds."""
        return statistics.median(self.seconds)

    @property
    def summary(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"best_seconds": self.best, "median_seconds": self.median, "calls": len(self.seconds)}


def take_turns(
    contestants: Mapping[str, Callable[[], object]],
    device: torch.device,
    *,
    rounds: int,
    turn_seconds: float = 0.0,
    description: str,
) -> dict[str, Timing]:
    """Time contestants in interleaved rounds, so that whatever else the machine does falls on all of them alike.

    Args:
        contestants: what to call, by name; a round calls each in turn.
        device: where they run; CUDA is synchronised around every call.
        rounds: counted rounds, after one that is not.
        turn_seconds: a contestant is called again within its turn until this much time has gone.
        description: what the progress bar says.

    Returns:
        One timing a contestant.
    """
    keep_freed_memory()  # as training does
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in follow(range(rounds + 1), description):
        for name, call in contestants.items():
            # The first round warms up: caches, allocators, kernels that are built for a shape.
            turn = [_time(call, device)]
            while number > 0 and sum(turn) < turn_seconds:
                turn.append(_time(call, device))
            if number > 0:
                seconds[name] += turn
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def follow(items: Sequence[Item], description: str) -> Iterable[Item]:
    """The items, with a progress bar beside them."""
    return track(items, description, console=Console(stderr=True), transient=True)


def _time(call: Callable[[], object], device: torch.device) -> float:
    _synchronize(device)
    start = time.perf_counter()
    call()
    _synchronize(device)
    return time.perf_counter() - start


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(function: Callable[..., object], *arguments: Any, device: torch.device) -> int:
    """Bytes that `function(*arguments)` holds at its peak, beyond what the process held before.

    On a processor the call runs in a fresh process, whose anonymous memory is measured; function and arguments have to
    be picklable. On CUDA it is what PyTorch's allocator handed out at most.

    Raises:
        UserError: the process was killed.
    """
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function(*arguments)
        return torch.cuda.max_memory_allocated(device) - before
    # A server that has imported the libraries and done nothing else forks the fresh processes: none pays for imports.
    context = get_context("forkserver")
    context.set_forkserver_preload(["eve_core.model", "eve_core.data", "benchmarks.measure"])
    try:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(_watch, function, arguments).result()
    except BrokenProcessPool:
        raise UserError(
            f"the process that measured the memory of {arguments} was killed, most likely because this machine ran "
            "out of memory; choose smaller batches or sizes"
        ) from None


def _watch(function: Callable[..., object], arguments: tuple[Any, ...]) -> int:
    keep_freed_memory()
    before = _memory("RssAnon")
    function(*arguments)
    # The peak counts pages of library files as well, which are no working memory: they are taken off.
    return _memory("VmHWM") - _memory("RssFile") - _memory("RssShmem") - before


def _memory(field: str) -> int:
    """A field of this process's status (Linux), in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))
