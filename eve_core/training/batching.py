"""How a step's batch is spread: over processes, and over micro-batches that follow each other."""

import os
from dataclasses import dataclass

from eve_core.config import OptimizationConfig
from eve_core.errors import UserError


@dataclass(frozen=True)
class Batching:
    """batch_size = processes x accumulation x micro_batch."""

    processes: int
    """That train together, one a GPU."""
    accumulation: int
    """Micro-batches of a step that follow each other."""
    micro_batch: int
    """Examples of a process at once."""

    @property
    def whole(self) -> int:
        """Examples of a step."""
        return self.processes * self.accumulation * self.micro_batch

    @classmethod
    def of(cls, config: OptimizationConfig, processes: int | None = None) -> "Batching":
        """The fewest micro-batches that respect `config.micro_batch_size`.

        Args:
            config: batch size, and how much a process takes at once.
            processes: that train together; those that torchrun started when None.

        Raises:
            UserError: the batch cannot be spread evenly.
        """
        processes = int(os.environ.get("WORLD_SIZE", 1)) if processes is None else processes
        each, left = divmod(config.batch_size, processes)
        if left:
            raise UserError(
                f"optimization.batch_size {config.batch_size} cannot be spread evenly over {processes} processes; make "
                "it a multiple of them"
            )
        most = config.micro_batch_size or each
        accumulation = next(number for number in range(1, each + 1) if each % number == 0 and each // number <= most)
        return cls(processes, accumulation, each // accumulation)

    def refuse_accumulation(self, losses: str) -> None:
        """Where a loss compares the examples of a whole step with each other, which micro-batches cannot.

        Raises:
            UserError: the batch is accumulated.
        """
        if self.accumulation > 1:
            raise UserError(
                f"{losses} contrast the examples of a whole batch, which cannot be taken in {self.accumulation} parts "
                f"of {self.micro_batch} one after the other; raise optimization.micro_batch_size to "
                f"{self.accumulation * self.micro_batch} or use {self.accumulation} times the processes"
            )
