"""What a run sees when is a pure function of the seed and the position."""

import numpy as np
import pytest
from torch.utils.data import DataLoader, SequentialSampler

from eve_core.data.schedule import ShuffledEpochs


def draw(index: int, generator: np.random.Generator) -> dict[str, int]:
    return {"index": index, "drawn": int(generator.integers(1 << 30))}


def schedule(seed: int = 1, number: int = 10, length: int = 35) -> ShuffledEpochs:
    return ShuffledEpochs(number, length, seed, draw)


def test_every_epoch_sees_every_example_once_in_another_order():
    run = schedule()
    assert len(run) == 35
    epochs = [[run[epoch * 10 + offset]["index"] for offset in range(10)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_position_gives_the_same_in_whatever_order_it_is_asked_for():
    forward = [schedule()[position] for position in range(35)]
    run = schedule()
    backward = [run[position] for position in reversed(range(35))]
    assert forward == backward[::-1]


def test_an_example_is_drawn_anew_every_epoch_and_under_another_seed():
    run = schedule()
    drawn = {position: run[position] for position in range(20)}
    by_epoch = [{v["index"]: v["drawn"] for p, v in drawn.items() if p // 10 == epoch} for epoch in (0, 1)]
    assert all(by_epoch[0][index] != by_epoch[1][index] for index in range(10))
    assert [schedule(seed=2)[p] for p in range(10)] != [run[p] for p in range(10)]


@pytest.mark.parametrize("workers", [0, 2])
def test_the_number_of_workers_changes_nothing(workers):
    run = schedule()
    loader = DataLoader(run, batch_size=4, sampler=SequentialSampler(run), num_workers=workers, collate_fn=list)
    seen = [example for batch in loader for example in batch]
    assert seen == [run[position] for position in range(35)]
