"""Progress is a bar at a terminal, and a small file where a pipeline's step leaves its position."""

import json

import pytest

from eve_core.progress import Progress, track


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EVE_PROGRESS", str(tmp_path))
    monkeypatch.setenv("EVE_STEP", "pretrain")
    return tmp_path


def state(folder):
    (file,) = folder.glob("*.bar.json")
    return json.loads(file.read_text())


def test_a_step_leaves_its_position_and_what_it_is_doing(folder, capsys):
    with Progress("pre-training", 10, "step") as progress:
        begun = {"step": "pretrain", "description": "pre-training", "total": 10, "unit": "step", "done": 0, "note": ""}
        assert state(folder) == begun
        progress.update(3)
        progress.update_to(7, "loss 0.5")
    assert state(folder) == {**begun, "done": 7, "note": "loss 0.5", "finished": True}
    assert list(folder.glob("*.tmp")) == []
    assert capsys.readouterr().err == ""


def test_work_that_failed_is_not_finished(folder):
    with pytest.raises(RuntimeError), Progress("pre-training", 10):
        raise RuntimeError
    assert state(folder)["finished"] is False


def test_two_bars_of_one_step_are_two_files(folder):
    with Progress("one", 1), Progress("two", 1):
        assert len(list(folder.glob("*.bar.json"))) == 2


def test_tracked_items_are_counted(folder):
    assert list(track([1, 2, 3], "counting")) == [1, 2, 3]
    assert (state(folder)["done"], state(folder)["total"], state(folder)["finished"]) == (3, 3, True)


def test_without_a_pipeline_a_bar_is_drawn(monkeypatch, capsys):
    monkeypatch.delenv("EVE_PROGRESS", raising=False)
    with Progress("scoring", 2, "question") as progress:
        progress.update(2, "half way")
    shown = capsys.readouterr().err
    assert "scoring" in shown
    assert "2/2" in shown
