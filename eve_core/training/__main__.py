"""A process of a training that was started by torchrun: `torchrun ... -m eve_core.training JOB.json`."""

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from eve_core.errors import Preempted, UserError, explain
from eve_core.processes import end_with_parent, end_without_collection
from eve_core.training.job import TrainingJob
from eve_core.training.launch import failure_file, metrics_file
from eve_core.training.preemption import PREEMPTED_STATUS


def main(path: Path) -> int:
    """Run the job; the metrics and the reason of a failure are left where `launch` looks for them."""
    job = TrainingJob.read(path)
    file = failure_file(path, int(os.environ.get("RANK", 0)))
    file.unlink(missing_ok=True)  # of a first attempt, where the cluster started this process again

    def tell(entry: dict[str, Any]) -> None:
        with metrics_file(path).open("a") as file:
            file.write(json.dumps(entry) + "\n")

    try:
        job.run(
            log=lambda metrics, step: tell({"step": step, "metrics": metrics}),
            keep=lambda folder: tell({"folder": str(folder)}),
        )
    except Exception as error:
        if not isinstance(error, UserError):
            traceback.print_exc()
        failure = {"message": explain(error, job.name), "preempted": isinstance(error, Preempted)}
        try:
            file.write_text(json.dumps(failure))
        except OSError:  # the disk may be what is full
            file.unlink(missing_ok=True)
            print(failure["message"], file=sys.stderr)
        return PREEMPTED_STATUS if isinstance(error, Preempted) else 1
    return 0


if __name__ == "__main__":
    end_with_parent()  # a killed torchrun leaves its processes, each in a session of its own, to wait for one another
    end_without_collection()
    status = main(Path(sys.argv[1]))
    if status:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # at once: the other processes may wait in a collective that never ends, and this one for them
