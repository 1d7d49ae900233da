"""Starting a training, and telling how it ended."""

import fcntl
import json
import os
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from eve_core.config import LaunchConfig
from eve_core.errors import Preempted, UserError
from eve_core.training.__main__ import main
from eve_core.training.job import TrainingJob
from eve_core.training.launch import failure_file, forget, launch, raise_failure
from eve_core.training.pretraining import made_once


def a_job(folder: Path) -> TrainingJob:
    settings = {"pretraining": {}}
    return TrainingJob(None, str(folder / "absent"), None, settings, None, str(folder), str(folder), 0)


def test_a_process_that_starts_again_forgets_why_it_failed_before(tmp_path, monkeypatch):
    path = tmp_path / "job.json"
    a_job(tmp_path).write(path)
    failure_file(path, 0).write_text(json.dumps({"message": "of the first attempt", "preempted": False}))
    monkeypatch.setattr(TrainingJob, "run", lambda *_, **__: None)
    assert main(path) == 0
    raise_failure(path, told_to_stop=False)


def test_processes_that_are_told_to_stop_before_they_train_have_not_failed(tmp_path):
    path = tmp_path / "job.json"
    forget(path)
    with pytest.raises(Preempted, match=r"was told to stop \(SIGTERM\) and ended without a checkpoint"):
        raise_failure(path, told_to_stop=True)
    failure_file(path, 0).write_text(json.dumps({"message": "the disk is full", "preempted": False}))
    with pytest.raises(UserError, match="the disk is full"):
        raise_failure(path, told_to_stop=True)


def test_trainings_on_the_gpus_of_a_machine_take_turns(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    lock = tmp_path / f"eve-gpus-{os.getuid()}.lock"
    another = lock.open("w")
    fcntl.flock(another, fcntl.LOCK_EX)

    class Output:
        """Lets go of the GPUs once it is said that they are waited for."""

        def write(self, text: str) -> None:
            if "waits" in text:  # threads of other tests may have something to say
                said.append(text)
                another.close()

        def flush(self) -> None:
            pass

    said: list[str] = []
    held: list[bool] = []

    def run(*_: object) -> None:
        with lock.open("w") as third, pytest.raises(BlockingIOError):
            fcntl.flock(third, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held.append(True)

    monkeypatch.setattr(TrainingJob, "run", run)
    monkeypatch.setattr(sys, "stdout", Output())
    launch(a_job(tmp_path), LaunchConfig(processes="gpus"))
    assert said[0] == "pre-training waits until another training leaves the GPUs of this machine"
    assert held


def test_a_folder_that_two_runs_make_is_that_of_the_first(tmp_path):
    folder = tmp_path / "preprocessor"

    def make(unfinished: Path) -> None:
        made_once(folder, lambda other: (other / "by").write_text("the other"))
        (unfinished / "by").write_text("this one")

    assert (made_once(folder, make) / "by").read_text() == "the other"
    assert [*tmp_path.iterdir()] == [folder]
