"""The synthetic world: reproducible, in the public sets' forms, and not to be guessed from the text."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from eve_core.config import SyntheticWorldConfig
from eve_core.data.synthetic.world import draw_world
from eve_core.errors import UserError
from tests.conftest import SIZES


def load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())  # type: ignore[no-any-return]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_drawing_twice_gives_the_same_bytes(world: Path, tmp_path: Path) -> None:
    draw_world(SIZES, tmp_path / "again", progress=False)
    assert files(tmp_path / "again") == files(world)


def test_another_seed_gives_another_world(world: Path, tmp_path: Path) -> None:
    draw_world(SIZES.model_copy(update={"seed": 4}), tmp_path / "other", progress=False)
    assert files(tmp_path / "other") != files(world)


def test_the_sizes_are_those_asked_for(world: Path) -> None:
    captions = {split: load(world / f"coco/annotations/captions_{split}2014.json") for split in ("train", "val")}
    assert [len(captions[split]["images"]) for split in captions] == [44, 4]
    assert [len(captions[split]["annotations"]) for split in captions] == [88, 8]
    assert [len(lines(world / f"nlvr2/{split}.json")) for split in ("train", "dev")] == [32, 8]
    splits = Counter(image["split"] for image in load(world / "flickr8k/dataset_flickr8k.json")["images"])
    assert splits == {"train": 12, "val": 4, "test": 8}


def test_no_picture_occurs_twice(world: Path) -> None:
    paths = [*world.rglob("*.jpg"), *world.rglob("*.png")]
    pixels = {hashlib.sha256(Image.open(path).tobytes()).digest() for path in paths}
    assert len(pixels) == len(paths) == 48 + 80 + 24


def test_every_statement_is_as_often_true_as_false(world: Path) -> None:
    for split in ("train", "dev"):
        counts = Counter((line["sentence"], line["label"]) for line in lines(world / f"nlvr2/{split}.json"))
        assert all(counts[sentence, "True"] == counts[sentence, "False"] for sentence, _ in counts)


def test_answers_are_spread_over_each_type_of_question(tmp_path: Path) -> None:
    sizes = SyntheticWorldConfig(coco_images=480, nlvr2_pairs=2, flickr_images=3, flickr_test_images=2)
    draw_world(sizes, tmp_path / "world", progress=False)
    annotations = load(tmp_path / "world/vqa2/v2_mscoco_train2014_annotations.json")["annotations"]
    by_type: dict[str, Counter[str]] = {}
    for annotation in annotations:
        by_type.setdefault(annotation["question_type"], Counter())[annotation["multiple_choice_answer"]] += 1
    totals = {kind: sum(answers.values()) for kind, answers in by_type.items()}
    assert len(totals) == 5
    assert max(totals.values()) - min(totals.values()) <= 2
    assert by_type["is there a"]["yes"] == pytest.approx(totals["is there a"] / 2, abs=1)
    assert sum(max(answers.values()) for answers in by_type.values()) / len(annotations) < 0.37
    disputed = [a for a in annotations if len({answer["answer"] for answer in a["answers"]}) > 1]
    assert 0.05 < len(disputed) / len(annotations) < 0.15
    for annotation in annotations:
        [(top, count)] = Counter(answer["answer"] for answer in annotation["answers"]).most_common(1)
        assert top == annotation["multiple_choice_answer"]
        assert count >= 7


def test_the_words_are_few_and_captions_short(world: Path) -> None:
    texts = [a["caption"] for a in load(world / "coco/annotations/captions_train2014.json")["annotations"]]
    assert max(len(text.split()) for text in texts) <= 14
    texts += [q["question"] for q in load(world / "vqa2/v2_OpenEnded_mscoco_train2014_questions.json")["questions"]]
    texts += [line["sentence"] for line in lines(world / "nlvr2/train.json")]
    assert len({word.strip(",?") for text in texts for word in text.split()}) < 80


def test_a_gallery_has_no_two_pictures_with_the_same_description(world: Path) -> None:
    images = load(world / "flickr8k/dataset_flickr8k.json")["images"]
    shown = [frozenset(image["sentences"][0]["raw"].split(", ")) for image in images if image["split"] == "test"]
    assert len(set(shown)) == len(shown)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("drawn", "real"),
    [
        ("vqa2/v2_mscoco_train2014_annotations.json", "vqa2/v2_mscoco_train2014_annotations.json"),
        ("vqa2/v2_OpenEnded_mscoco_train2014_questions.json", "vqa2/v2_OpenEnded_mscoco_train2014_questions.json"),
        ("coco/annotations/captions_train2014.json", "coco/annotations/captions_sample2014.json"),
        ("flickr8k/dataset_flickr8k.json", "flickr8k/dataset_flickr8k.json"),
    ],
)
def test_the_keys_are_those_of_the_real_files(world: Path, real_data: Path, drawn: str, real: str) -> None:
    assert keys(load(world / drawn)) == keys(load(real_data / real))


@pytest.mark.real_data
def test_the_keys_of_statements_are_those_of_the_real_file(world: Path, real_data: Path) -> None:
    assert lines(world / "nlvr2/dev.json")[0].keys() == lines(real_data / "nlvr2/dev.json")[0].keys()


def keys(value: Any, path: str = "") -> set[str]:
    if isinstance(value, dict):
        return {path + "." + key for key in value} | {k for key in value for k in keys(value[key], f"{path}.{key}")}
    return keys(value[0], path + "[]") if isinstance(value, list) else set()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nlvr2_pairs": 3}, "must be even"),
        ({"flickr_images": 10, "flickr_test_images": 9}, "too many for flickr_images"),
        ({"seed": -1}, "cannot be negative"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(tmp_path: Path, change: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        draw_world(SIZES.model_copy(update=change), tmp_path / "world", progress=False)


def test_a_foreign_folder_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds other files"):
        draw_world(SIZES, tmp_path / "mine", progress=False)
