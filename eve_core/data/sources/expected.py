"""How many annotations and pictures the public sets have as a whole, and how a prepared set differs from that."""

from collections.abc import Mapping
from typing import NamedTuple

from eve_core.data.records import KIND_OF_SET


class _Size(NamedTuple):
    """The size of a whole split."""

    annotations: int
    pictures: int | None = None
    """None where no source says it."""
    release: str = ""
    """Which release or form of the set it is, where there are several."""

    def in_words(self, kind: str) -> str:
        """The size in a few words: "414,113 captions of 82,783 pictures (2014)"."""
        words = f"{self.annotations:,} {kind}"
        words += f" of {self.pictures:,} pictures" if self.pictures else ""
        return f"{words} ({self.release})" if self.release else words


_SIZES: dict[str, dict[str, tuple[_Size, ...]]] = {
    # Three divisions of the same 616,767 captions. 2014 and 2017: cocodataset.org. Karpathy's (Karpathy and Li 2015):
    # the dataset card justram/COCO2014-Captions; train with restval, as everybody trains.
    "coco_captions": {
        "train": (
            _Size(414_113, 82_783, "2014"),
            _Size(591_753, 118_287, "2017"),
            _Size(566_747, 113_287, "Karpathy"),
        ),
        "val": (
            _Size(202_654, 40_504, "2014"),
            _Size(25_014, 5_000, "2017"),
            _Size(25_010, 5_000, "Karpathy"),
        ),
        "test": (_Size(25_010, 5_000, "Karpathy"),),
    },
    # Regions as counted in version 1.2 by users of the file; pictures as on visualgenome.org.
    "visual_genome": {"train": (_Size(5_408_689, 108_077),)},
    # Version 1.2, visualgenome.org.
    "visual_genome_qa": {"train": (_Size(1_445_322),)},
    # Ordonez et al. 2011.
    "sbu": {"train": (_Size(1_000_000),)},
    # ai.google.com/research/ConceptualCaptions.
    "cc3m": {"train": (_Size(3_318_333),), "val": (_Size(15_840),)},
    # github.com/google-research-datasets/conceptual-12m.
    "cc12m": {"train": (_Size(12_423_374),)},
    # Karpathy's division; the whole token file has 8,092 names with five captions each.
    "flickr8k": {
        "train": (_Size(30_000, 6_000), _Size(40_460, 8_092, "not divided")),
        "val": (_Size(5_000, 1_000),),
        "test": (_Size(5_000, 1_000),),
    },
    # Karpathy's division; the whole token file has 31,783 pictures with five captions each.
    "flickr30k": {
        "train": (_Size(145_000, 29_000), _Size(158_915, 31_783, "not divided")),
        "val": (_Size(5_070, 1_014),),
        "test": (_Size(5_000, 1_000),),
    },
    # visualqa.org/download.html; test-dev as counted in the dataset card HuggingFaceM4/VQAv2.
    "vqa_v2": {
        "train": (_Size(443_757, 82_783),),
        "val": (_Size(214_354, 40_504),),
        "test": (_Size(447_793, 81_434, "test2015"), _Size(107_394, 36_807, "test-dev2015")),
    },
    # Suhr et al. 2019, table 3; dev also counted in its file.
    "nlvr2": {
        "train": (_Size(86_373),),
        "dev": (_Size(6_982),),
        "test1": (_Size(6_967),),
        "test2": (_Size(6_970),),
    },
}


def published_counts() -> dict[str, dict[str, int]]:
    """By set and split, how many annotations it has as published; of several releases, Karpathy's or else the first."""
    return {name: {split: _usual(sizes) for split, sizes in splits.items()} for name, splits in _SIZES.items()}


def _usual(sizes: tuple[_Size, ...]) -> int:
    return next((size for size in sizes if size.release == "Karpathy"), sizes[0]).annotations


def unexpected_counts(set_name: str, counts_by_split: Mapping[str, int]) -> list[str]:
    """A sentence for every split that has another number of annotations than the whole set.

    Args:
        set_name: a public set.
        counts_by_split: annotations read, usable or not; splits without a known size are passed over.
    """
    known = _SIZES.get(set_name, {})
    return [
        f"{set_name} {split}: {count:,} of "
        + " or ".join(size.in_words(KIND_OF_SET[set_name]) for size in known[split])
        for split, count in sorted(counts_by_split.items())
        if split in known and count not in (size.annotations for size in known[split])
    ]
