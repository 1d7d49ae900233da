"""A checkpoint is whole or not there."""

import errno
import fcntl
import json
import os
import subprocess

import pytest
import torch
from safetensors.torch import load_file

from eve_core.errors import UserError
from eve_core.training.checkpoints import CheckpointWriter, last_whole_checkpoint

RUN = {"processes": 1, "seed": 3}


def write(writer: CheckpointWriter, step: int, **how) -> None:
    (writer.begin(step) / "state").write_text("small")
    weights = {"layer": torch.full((3,), float(step))}
    writer.finish(step, {"model.safetensors": weights, "optimizer.pt": {"moments": [torch.zeros(2)]}}, **how)
    weights["layer"].zero_()  # training goes on while it is written


@pytest.fixture
def folder(tmp_path):
    writer = CheckpointWriter(tmp_path, RUN, keep=2)
    for step in (3, 9, 12, 100):
        write(writer, step)
    writer.close()
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.glob("checkpoint-*"))


def test_the_newest_are_kept_by_number(folder):
    assert names(folder) == ["checkpoint-100", "checkpoint-12"]
    assert last_whole_checkpoint(folder, RUN) == folder / "checkpoint-100"


def test_there_is_none_in_an_empty_or_absent_folder(tmp_path):
    assert last_whole_checkpoint(tmp_path, RUN) is None
    assert last_whole_checkpoint(tmp_path / "absent", RUN) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda checkpoint: (checkpoint / "model.safetensors").write_bytes(b"other"),
        lambda checkpoint: (checkpoint / "model.safetensors").unlink(),
        lambda checkpoint: (checkpoint / "checkpoint.json").unlink(),
        lambda checkpoint: (checkpoint / "checkpoint.json").write_text('{"step": 100, "ru'),
    ],
    ids=["another byte", "a file missing", "no record", "half a record"],
)
def test_a_damaged_one_is_passed_over_with_a_warning(folder, damage):
    damage(folder / "checkpoint-100")
    with pytest.warns(UserWarning, match="checkpoint-100 is damaged .*; going on from the one before it"):
        assert last_whole_checkpoint(folder, RUN) == folder / "checkpoint-12"


def test_what_is_written_is_what_was_there_when_it_was_asked_for(folder):
    for step in (12, 100):
        checkpoint = folder / f"checkpoint-{step}"
        assert load_file(checkpoint / "model.safetensors")["layer"].tolist() == [step] * 3
        assert torch.load(checkpoint / "optimizer.pt")["moments"][0].tolist() == [0, 0]
        assert (checkpoint / "state").read_text() == "small"


def test_one_that_was_being_written_does_not_count_and_is_cleared(folder):
    writer = CheckpointWriter(folder, RUN, keep=2)
    (writer.begin(200) / "state").write_text("half")
    assert last_whole_checkpoint(folder, RUN) == folder / "checkpoint-100"
    assert [path.name for path in writer.begin(201).parent.iterdir()] == ["checkpoint-201"]
    writer.close()


def test_one_of_another_run_is_refused_by_what_differs(folder):
    with pytest.raises(UserError, match="checkpoint-100 is of another run: processes was 1 and is 2; change it back"):
        last_whole_checkpoint(folder, {**RUN, "processes": 2})


def test_the_record_names_every_file(folder):
    record = json.loads((folder / "checkpoint-100" / "checkpoint.json").read_text())
    assert record["step"] == 100
    assert record["run"] == RUN
    assert record["files"].keys() == {"state", "model.safetensors", "optimizer.pt"}


def test_newer_damaged_ones_do_not_push_out_what_is_written(folder):
    (folder / "checkpoint-100" / "model.safetensors").unlink()
    writer = CheckpointWriter(folder, RUN, keep=1)
    write(writer, 15)
    writer.close()
    assert names(folder) == ["checkpoint-15"]


def test_in_haste_sizes_must_do(tmp_path):
    writer = CheckpointWriter(tmp_path, RUN, keep=2)
    write(writer, 3, digests=False)
    writer.close()
    assert last_whole_checkpoint(tmp_path, RUN) == tmp_path / "checkpoint-3"
    (tmp_path / "checkpoint-3" / "model.safetensors").write_bytes(b"half")
    with pytest.warns(UserWarning, match="checkpoint-3 is damaged"):
        assert last_whole_checkpoint(tmp_path, RUN) is None


def test_a_full_disk_is_said_and_leaves_the_one_before(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    try:
        writer = CheckpointWriter(small, RUN, keep=2)
        write(writer, 1)
        for name in ("model.safetensors", "optimizer.pt"):
            writer.begin(2)
            writer.finish(2, {name: {"large": torch.zeros(1_000_000)}})
            with pytest.raises(OSError, match="No space left"):
                writer.wait()
        writer.close()
        assert last_whole_checkpoint(small, RUN) == small / "checkpoint-1"
        assert not writer.unfinished.exists()
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)


def no_locks(*_):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def test_a_file_system_without_locks_is_warned_about(folder, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.warns(UserWarning, match="has no locks .*; see to it that nothing else trains there"):
        assert CheckpointWriter(folder, RUN, keep=2).newest() == folder / "checkpoint-100"


def test_two_in_one_folder_are_refused(folder):
    first = CheckpointWriter(folder, RUN, keep=2)
    first.newest()
    with pytest.raises(UserError, match="another process trains in"):
        CheckpointWriter(folder, RUN, keep=2).newest()
    first.close()
