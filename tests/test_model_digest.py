"""The digest of a model follows the files that define it and nothing else."""

import pytest

from eve_core.errors import UserError
from eve_core.model_digest import model_digest


@pytest.fixture
def checkpoint(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "tokenizer.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "answers.json"])
def test_every_file_that_defines_the_model_counts(checkpoint, name):
    before = model_digest(checkpoint)
    (checkpoint / name).write_text("changed")
    assert model_digest(checkpoint) != before


def test_two_files_that_swap_their_contents_are_another_model(checkpoint):
    (checkpoint / "config.json").write_text("a")
    (checkpoint / "tokenizer.json").write_text("b")
    before = model_digest(checkpoint)
    (checkpoint / "config.json").write_text("b")
    (checkpoint / "tokenizer.json").write_text("a")
    assert model_digest(checkpoint) != before


def test_what_training_leaves_beside_the_model_does_not_count(checkpoint):
    before = model_digest(checkpoint)
    (checkpoint / "optimizer.pt").write_bytes(b"state")
    (checkpoint / "log.json").write_text("[]")
    assert model_digest(checkpoint) == before


def test_a_folder_without_a_whole_model_is_refused(checkpoint):
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"lacks config\.json or"):
        model_digest(checkpoint)
    with pytest.raises(UserError, match="no folder"):
        model_digest(checkpoint / "absent")
