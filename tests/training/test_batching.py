"""How a step's batch is spread."""

import pytest

from eve_core.errors import UserError
from eve_core.training.batching import Batching
from tests.training.conftest import optimization


@pytest.mark.parametrize(
    ("batch", "processes", "most", "parts", "each"),
    [
        (2048, 8, 128, 2, 128),
        (2048, 8, None, 1, 256),
        (2048, 8, 300, 1, 256),
        (2048, 8, 100, 4, 64),  # the fewest equal parts that fit
        (2048, 16, 128, 1, 128),
        (12, 1, 5, 3, 4),
        (7, 1, 4, 7, 1),
    ],
)
def test_the_fewest_micro_batches_that_fit(batch, processes, most, parts, each):
    spread = Batching.of(optimization(batch_size=batch, micro_batch_size=most), processes)
    assert spread == Batching(processes, parts, each)
    assert spread.whole == batch


def test_a_batch_that_cannot_be_spread_evenly_is_refused():
    with pytest.raises(UserError, match="batch_size 10 cannot be spread evenly over 4 processes; make it a multiple"):
        Batching.of(optimization(batch_size=10), 4)


def test_the_processes_are_those_that_torchrun_started(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert Batching.of(optimization(batch_size=8)) == Batching(4, 1, 2)


def test_what_compares_examples_cannot_be_accumulated():
    Batching(2, 1, 8).refuse_accumulation("itc")
    with pytest.raises(UserError, match=r"cannot be taken in 4 parts of 8 .*micro_batch_size to 32 or use 4 times"):
        Batching(2, 4, 8).refuse_accumulation("itc")
