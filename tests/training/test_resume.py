"""Killed and resumed equals uninterrupted, bit for bit: real processes and real signals."""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from eve_core.config import AugmentationConfig, FinetuningConfig
from eve_core.training import TrainingJob
from eve_core.training.__main__ import main
from eve_core.training.launch import failure_file, metrics_file
from eve_core.training.preemption import PREEMPTED_STATUS
from tests.processes import Forked
from tests.training.conftest import optimization
from tests.training.starting import run_to_the_end, start
from tests.training.test_distributed import job_of
from tests.training.test_finetuning import task_data
from tests.training.test_pretraining import assert_same_weights

pytestmark = pytest.mark.slow(minutes=8)

STEPS = 20
CHECKPOINT_STEPS = 3


def wait_until(happened: Callable[[], bool], process: Forked) -> bool:
    """Whether it happened before the process ended."""
    while process.poll() is None:
        if happened():
            return True
        time.sleep(0.002)
    return False


def last_step(job: TrainingJob) -> int:
    return max(steps(job), default=0)


def steps(job: TrainingJob) -> list[int]:
    metrics = metrics_file(Path(job.scratch) / "job.json")
    lines = metrics.read_text().splitlines(keepends=True) if metrics.exists() else []
    entries = [json.loads(line) for line in lines if line.endswith("\n")]
    return [entry["step"] for entry in entries if "step" in entry]


def at_step(job: TrainingJob, step: int) -> Callable[[], bool]:
    return lambda: last_step(job) >= step


def while_writing(job: TrainingJob, least: int) -> Callable[[], bool]:
    """When a checkpoint after `least` has begun to be written."""
    folder = Path(job.scratch) / ".writing"
    return lambda: last_step(job) >= least and any(folder.glob("checkpoint-*/*"))


def job_here(prepared, folder: Path, **changes) -> TrainingJob:
    settings = {"steps": STEPS, "batch_size": 8, "checkpoint_steps": CHECKPOINT_STEPS}
    return job_of(prepared, folder, steady=False, **{**settings, **changes})


@pytest.fixture(scope="module")
def uninterrupted(prepared, tmp_path_factory):
    """By number of processes; drop path and dropout are on, and all of their draws have to be resumed too."""
    done = {}
    for processes in (1, 2):
        job = job_here(prepared, tmp_path_factory.mktemp("uninterrupted"))
        run_to_the_end(job, processes)
        done[processes] = Path(job.out)
    return done


@pytest.mark.parametrize(("processes", "workers"), [(1, 0), (1, 2), (2, 0)])
def test_killed_at_random_moments(prepared, uninterrupted, tmp_path, processes, workers):
    job = job_here(prepared, tmp_path, workers=workers)
    draw = random.Random(processes)
    process = start(job, processes)
    assert wait_until(at_step(job, draw.randint(4, 8)), process)
    process.kill()
    reached = last_step(job)
    process = start(job, processes)
    assert wait_until(while_writing(job, draw.randint(10, 15)), process)
    process.kill()
    first = steps(job)[0]
    assert reached - CHECKPOINT_STEPS <= first <= reached + 1  # it went on, and lost no more than since a checkpoint
    run_to_the_end(job, processes)
    assert_same_weights(Path(job.out), uninterrupted[processes])


def test_ten_kills_in_one_run(prepared, tmp_path):
    """Wherever they fall: in a step, in writing a checkpoint, in the first seconds after a resumption."""
    whole = job_here(prepared, tmp_path / "whole", steps=60)
    run_to_the_end(whole, 1)
    job = job_here(prepared, tmp_path / "killed", steps=60)
    draw = random.Random(10)
    reached, kills = 0, 0
    while kills < 10:
        process = start(job, 1)
        more = reached + draw.randint(1, 6)
        happened = at_step(job, more) if kills % 2 else while_writing(job, more)
        assert wait_until(happened, process)
        time.sleep(draw.random() / 50)
        process.kill()
        kills += 1
        assert steps(job)[0] > reached - CHECKPOINT_STEPS - 1  # it lost no more than since the last checkpoint
        reached = last_step(job)
    assert reached < 60
    run_to_the_end(job, 1)
    assert_same_weights(Path(job.out), Path(whole.out))


@pytest.mark.parametrize(
    ("task", "processes", "workers"), [("vqa", 1, 2), ("nlvr2", 2, 0), ("retrieval", 1, 0), ("retrieval", 2, 2)]
)
def test_a_fine_tuning_is_resumed(prepared, pretrained, tmp_path, task, processes, workers):
    def tuning(folder: Path) -> TrainingJob:
        config = FinetuningConfig(
            optimization=optimization(steps=12, batch_size=8, checkpoint_steps=CHECKPOINT_STEPS, workers=workers),
            augmentation=AugmentationConfig(rand_augment=(2, 7)),
            **({"min_answer_count": 1} if task == "vqa" else {}),
        )
        sections = {"task_data": task_data(task), "finetuning": config}
        return replace(
            job_here(prepared, folder),
            task=task,
            settings={name: section.model_dump(mode="json") for name, section in sections.items()},
            pretrained=str(pretrained),
        )

    whole, job = tuning(tmp_path / "whole"), tuning(tmp_path / "killed")
    run_to_the_end(whole, processes)
    process = start(job, processes)
    assert wait_until(at_step(job, 5), process)
    process.kill()
    run_to_the_end(job, processes)
    assert steps(job)[0] > 1
    assert_same_weights(Path(job.out), Path(whole.out))


def test_a_disk_that_fills_up_while_saving(prepared, uninterrupted, tmp_path):
    job = job_here(prepared, tmp_path)
    scratch = Path(job.scratch)
    scratch.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(scratch)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        assert start(job, 1, output=tmp_path / "output.txt").wait() == 1
        said = (tmp_path / "output.txt").read_text()
        assert "writing a checkpoint in" in said
        assert "disk is full" in said  # not in a file, which would not fit either
        assert not [*scratch.glob("failure-*")]
        assert [*scratch.glob("checkpoint-*")]  # the one before is there
        subprocess.run(["mount", "-o", "remount,size=64m", str(scratch)], check=True)
        run_to_the_end(job, 1)
        assert steps(job)[0] > 1
        assert_same_weights(Path(job.out), uninterrupted[1])
    finally:
        subprocess.run(["umount", str(scratch)], check=True)


def test_a_sharded_model_is_resumed(prepared, tmp_path):
    at_once = job_here(prepared, tmp_path / "at once", fsdp=True)
    run_to_the_end(at_once, 2)
    job = job_here(prepared, tmp_path / "killed", fsdp=True)
    process = start(job, 2)
    assert wait_until(at_step(job, 7), process)
    process.kill()
    run_to_the_end(job, 2)
    assert steps(job)[0] > 1
    assert_same_weights(Path(job.out), Path(at_once.out))


def test_processes_end_with_the_one_that_started_them(prepared, tmp_path):
    job = job_here(prepared, tmp_path, steps=100_000)
    process = start(job, 2, torchrun=True)
    assert wait_until(at_step(job, 2), process)
    children = _children(job, process)
    assert len(children) == 2
    process.kill()  # they are in sessions of their own
    until = time.monotonic() + 10
    while any(_is_alive(child) for child in children):
        assert time.monotonic() < until
        time.sleep(0.01)


def _children(job: TrainingJob, process: Forked) -> list[int]:
    command = ["pgrep", "-f", f"eve_core.training {job.scratch}", "-P", str(process.pid)]
    return [int(child) for child in subprocess.run(command, capture_output=True, text=True).stdout.split()]


def _is_alive(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_one_of_two_processes_dies(prepared, uninterrupted, tmp_path):
    job = job_here(prepared, tmp_path)
    process = start(job, 2, torchrun=True)
    assert wait_until(at_step(job, 7), process)
    os.kill(_children(job, process)[-1], signal.SIGKILL)
    assert process.wait() != 0  # the other one is stopped, and does not wait for ever
    run_to_the_end(job, 2)
    assert_same_weights(Path(job.out), uninterrupted[2])


@pytest.mark.parametrize(("processes", "workers"), [(1, 0), (2, 2)])
def test_sigterm_saves_before_it_stops(prepared, uninterrupted, tmp_path, processes, workers):
    """It goes to the whole group, loader workers included, as torchrun and Kubernetes send it."""
    job = job_here(prepared, tmp_path, checkpoint_steps=1000, workers=workers)
    process = start(job, processes, torchrun=True)
    assert wait_until(at_step(job, 5), process)
    os.killpg(process.pid, signal.SIGTERM)
    sent = time.monotonic()
    status = process.wait()
    assert time.monotonic() - sent < 20
    assert (status == PREEMPTED_STATUS) or processes > 1
    (saved,) = Path(job.scratch).glob("checkpoint-*")
    said = json.loads(failure_file(Path(job.scratch) / "job.json", 0).read_text())["message"]
    assert f"saved step {saved.name.removeprefix('checkpoint-')} of {STEPS}; run it again" in said
    run_to_the_end(job, processes)
    assert_same_weights(Path(job.out), uninterrupted[processes])


def test_another_number_of_processes_is_refused(prepared, tmp_path):
    job = job_here(prepared, tmp_path)
    process = start(job, 1)
    assert wait_until(lambda: any(Path(job.scratch).glob("checkpoint-*")), process)
    process.kill()
    assert start(job, 2).wait() != 0
    said = json.loads(failure_file(Path(job.scratch) / "job.json", 0).read_text())["message"]
    assert "is of another run: processes was 1 and is 2; change it back to go on from there, or delete" in said


def test_accumulation_is_resumed_too(prepared, tmp_path):
    """With dropped paths, which the pass that counts the experts' choices drops like the one that follows."""
    whole = job_here(prepared, tmp_path / "whole", micro_batch_size=4)
    run_to_the_end(whole, 1)
    job = job_here(prepared, tmp_path / "killed", micro_batch_size=4)
    process = start(job, 1)
    assert wait_until(at_step(job, 8), process)
    process.kill()
    run_to_the_end(job, 1)
    assert_same_weights(Path(job.out), Path(whole.out))


def test_two_runs_do_not_share_a_folder(prepared, tmp_path):
    job = job_here(prepared, tmp_path, steps=100_000)
    process = start(job, 1)
    assert wait_until(at_step(job, 1), process)
    second = Forked(main, Path(job.scratch) / "job.json")
    status = second.wait()
    process.kill()
    assert status == 1
    said = json.loads(failure_file(Path(job.scratch) / "job.json", 0).read_text())["message"]
    assert "another process trains in" in said
