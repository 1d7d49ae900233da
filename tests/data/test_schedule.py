"""What a run sees when is a pure function of the seed and the position."""

from collections.abc import Sequence

import numpy as np
import pytest
from torch.utils.data import DataLoader, SequentialSampler

from eve_core.data.schedule import LengthBuckets, ShuffledEpochs


class Drawn:
    """Examples that are their index and a random number."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __len__(self) -> int:
        return self.number

    def make(self, indices: Sequence[int], generators: Sequence[np.random.Generator]) -> list[dict[str, int]]:
        return [
            {"index": index, "drawn": int(generator.integers(1 << 30))}
            for index, generator in zip(indices, generators, strict=True)
        ]


def schedule(seed: int = 1, number: int = 10, length: int = 35, buckets: LengthBuckets | None = None) -> ShuffledEpochs:
    return ShuffledEpochs(Drawn(number), length, seed, buckets)


def indices(run: ShuffledEpochs) -> list[int]:
    return [run.place(position)[1] for position in range(len(run))]


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
    assert schedule().__getitems__(range(35)) == forward


def test_an_example_is_drawn_anew_every_epoch_and_under_another_seed():
    run = schedule()
    drawn = {position: run[position] for position in range(20)}
    by_epoch = [{v["index"]: v["drawn"] for p, v in drawn.items() if p // 10 == epoch} for epoch in (0, 1)]
    assert all(by_epoch[0][index] != by_epoch[1][index] for index in range(10))
    assert [schedule(seed=2)[p] for p in range(10)] != [run[p] for p in range(10)]


@pytest.mark.parametrize("buckets", [None, LengthBuckets(np.arange(10) % 3, 4)])
@pytest.mark.parametrize("workers", [0, 2])
def test_the_number_of_workers_changes_nothing(workers, buckets):
    run = schedule(buckets=buckets)
    loader = DataLoader(run, batch_size=4, sampler=SequentialSampler(run), num_workers=workers, collate_fn=list)
    seen = [example for batch in loader for example in batch]
    assert seen == [run[position] for position in range(35)]


@pytest.mark.parametrize(("number", "batch"), [(1000, 8), (1003, 8), (7, 3), (5, 8), (8, 8), (1, 4)])
def test_buckets_reorder_an_epoch_and_leave_none_out(number, batch):
    lengths = np.random.default_rng(0).integers(5, 40, number)
    run = schedule(number=number, length=4 * number, buckets=LengthBuckets(lengths, batch))
    seen = indices(run)
    epochs = [seen[start : start + number] for start in range(0, len(seen), number)]
    assert all(sorted(epoch) == list(range(number)) for epoch in epochs)
    if number > 100:
        assert len({str(epoch) for epoch in epochs}) == 4
    again = schedule(number=number, length=4 * number, buckets=LengthBuckets(lengths, batch))
    assert [again.place(position)[1] for position in reversed(range(len(again)))] == seen[::-1]


@pytest.mark.parametrize("number", [4000, 4001])
def test_the_texts_of_a_batch_are_about_equally_long(number):
    batch, lengths = 16, np.random.default_rng(0).integers(5, 40, number)

    def padded(buckets: LengthBuckets | None) -> float:
        """Tokens of all batches over those of all texts."""
        longest = lengths[indices(schedule(number=number, length=3 * 4000, buckets=buckets))].reshape(-1, batch).max(1)
        return float(longest.sum() * batch / (lengths.sum() * 3 * 4000 / number))

    assert padded(None) > 1.5
    assert padded(LengthBuckets(lengths, batch)) < 1.08


def test_short_and_long_batches_come_in_random_order():
    lengths = np.arange(3200)
    longest = lengths[indices(schedule(number=3200, length=3200, buckets=LengthBuckets(lengths, 16)))]
    longest = longest.reshape(-1, 16).max(1)
    assert abs(np.corrcoef(longest[:-1], longest[1:])[0, 1]) < 0.25
    assert abs(np.corrcoef(np.arange(len(longest)), longest)[0, 1]) < 0.25


def test_a_batch_has_other_companions_every_epoch():
    lengths = np.full(800, 7)
    run = schedule(number=800, length=1600, buckets=LengthBuckets(lengths, 8))
    batches = [frozenset(indices(run)[start : start + 8]) for start in range(0, 1600, 8)]
    assert len(set(batches)) == 200
