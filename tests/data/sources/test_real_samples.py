"""The public sets' own files, row by row: which text belongs to which picture, its split, and where the picture is."""

import gzip
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from eve_core.data.locations import exists
from eve_core.data.sources.annotation import UNUSED_PICTURE, Annotation
from eve_core.data.sources.layout import find_source
from tests.data.sources.conftest import annotations, read_all, rejected

pytestmark = pytest.mark.real_data


def load(path: Path) -> Any:
    return json.loads(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_text())


def read(set_name: str, root: Path, images: Path | None = None) -> list[Annotation]:
    found = read_all(find_source(set_name, root, images))
    assert [one for one in rejected(found) if one.reason != UNUSED_PICTURE] == []
    return annotations(found)


def places(found: Iterable[Annotation]) -> dict[str, list[Path]]:
    """By picture the files that are there."""
    pictures = {picture.image_id: picture for annotation in found for picture in annotation.pictures}
    return {
        name: [place for place in picture.candidates if isinstance(place, Path) and exists(place)]
        for name, picture in pictures.items()
    }


def splits(found: Iterable[Annotation]) -> dict[str, int]:
    return dict(Counter(annotation.row["split"] for annotation in found))


def test_coco_captions_in_the_official_form(real_data: Path) -> None:
    found = read("coco_captions", real_data / "coco")
    content = load(real_data / "coco/annotations/captions_sample2014.json")
    names = {image["id"]: image["file_name"] for image in content["images"]}
    assert [tuple(one.row.values()) for one in found] == [
        (
            str(caption["id"]),
            f"coco/{caption['image_id']}",
            caption["caption"],
            "val" if "val2014" in names[caption["image_id"]] else "train",
        )
        for caption in content["annotations"]
    ]
    assert splits(found) == {"train": 375, "val": 1336}
    assert {int(path.stem[-12:]) for [path] in places(found).values()} == names.keys()
    assert {picture.coco_id for one in found for picture in one.pictures} == names.keys()


def test_coco_captions_in_karpathys_form_are_the_same_captions(real_data: Path, tmp_path: Path) -> None:
    (tmp_path / "dataset_coco.json").symlink_to(real_data / "coco/dataset_coco.json")
    found = read("coco_captions", tmp_path, real_data / "coco/images")
    official = read("coco_captions", real_data / "coco")
    assert splits(found) == {"train": 1711}  # all of its pictures are train or restval
    assert sorted((one.row["image_id"], one.row["caption"]) for one in found) == sorted(
        (one.row["image_id"], one.row["caption"]) for one in official
    )
    assert places(found) == places(official)


def test_vqa_v2(real_data: Path) -> None:
    found = read("vqa_v2", real_data / "vqa2", real_data / "coco/images")
    answers = {}
    for split in ("train", "val"):
        for annotation in load(real_data / f"vqa2/v2_mscoco_{split}2014_annotations.json")["annotations"]:
            answers[annotation["question_id"]] = annotation
    assert splits(found) == {"train": 170, "val": 13}
    for one in found:
        annotation = answers.pop(one.row["question_id"])
        assert one.row["image_id"] == f"coco/{annotation['image_id']}"
        assert one.row["answers"] == [answer["answer"] for answer in annotation["answers"]]
        assert one.row["answer"] == annotation["multiple_choice_answer"]
        assert one.row["question_type"] == annotation["question_type"]
        assert one.row["answer_type"] == annotation["answer_type"]
    assert answers == {}
    assert all(
        path.name == f"COCO_{path.parent.name}_{int(name[5:]):012d}.jpg" for name, [path] in places(found).items()
    )


def test_the_text_only_sample_of_vqa_v2(real_data: Path, tmp_path: Path) -> None:
    for kind in ("questions", "annotations"):
        (tmp_path / f"v2_mscoco_valid_{kind}.json.gz").symlink_to(
            real_data / f"vqa2/text_only_60k/{kind}_valid.json.gz"
        )
    found = read("vqa_v2", tmp_path)
    questions = load(tmp_path / "v2_mscoco_valid_questions.json.gz")["questions"]
    assert [(one.row["question_id"], one.row["image_id"], one.row["question"]) for one in found] == [
        (question["question_id"], f"coco/{question['image_id']}", question["question"]) for question in questions
    ]
    assert splits(found) == {"val": 8_977}
    assert {len(one.row["answers"]) for one in found} == {10}


def test_nlvr2(real_data: Path) -> None:
    found = read("nlvr2", real_data / "nlvr2")
    lines = [json.loads(line) for line in (real_data / "nlvr2/dev.json").read_text().splitlines()]
    assert splits(found) == {"dev": 6_982}
    assert [(one.row["statement_id"], one.row["statement"], str(one.row["label"])) for one in found] == [
        (line["identifier"], line["sentence"], line["label"]) for line in lines
    ]
    for one in found:
        pair = "-".join(one.row["statement_id"].split("-")[:3])
        assert [one.row["left_image_id"], one.row["right_image_id"]] == [f"nlvr2/{pair}-img{n}" for n in (0, 1)]
    there = {name: paths for name, paths in places(found).items() if paths}
    assert len(there) == 8
    assert all(path.stem == name.removeprefix("nlvr2/") for name, [path] in there.items())


def test_flickr8k_in_karpathys_form(real_data: Path) -> None:
    found = read("flickr8k", real_data / "flickr8k")
    images = load(real_data / "flickr8k/dataset_flickr8k.json")["images"]
    assert [tuple(one.row.values()) for one in found] == [
        (str(sentence["sentid"]), f"flickr8k/{image['filename'][:-4]}", sentence["raw"], image["split"])
        for image in images
        for sentence in image["sentences"]
    ]
    assert splits(found) == {"train": 3_765, "val": 565}
    assert all(path.stem == name.removeprefix("flickr8k/") for name, [path] in places(found).items())


def test_flickr8ks_token_file_says_the_same(real_data: Path, tmp_path: Path) -> None:
    karpathy = read("flickr8k", real_data / "flickr8k")
    (tmp_path / "Flickr8k.token.txt").symlink_to(real_data / "flickr8k/Flickr8k.token.txt")
    for name, split in (("train", "train"), ("dev", "val")):
        names = sorted({one.pictures[0].name for one in karpathy if one.row["split"] == split})
        (tmp_path / f"Flickr_8k.{name}Images.txt").write_text("".join(f"{name}\n" for name in names))
    found = read("flickr8k", tmp_path, real_data / "flickr8k/images")
    assert splits(found) == splits(karpathy)
    # The token file has capitals and spaces that Karpathy's does not.
    assert Counter(map(_said, found)) == Counter(map(_said, karpathy))
    assert places(found) == places(karpathy)


def _said(one: Annotation) -> tuple[str, str, str]:
    return one.row["image_id"], "".join(filter(str.isalnum, one.row["caption"].lower())), one.row["split"]


def test_flickr30k(real_data: Path) -> None:
    found = read("flickr30k", real_data / "flickr30k")
    lines = [json.loads(line) for line in (real_data / "flickr30k/valid_ann.jsonl").read_text().splitlines()]
    assert [(one.row["image_id"], one.row["caption"]) for one in found] == [
        (f"flickr30k/{line['id']}", sentence) for line in lines for sentence in line["sentences"]
    ]
    assert splits(found) == {"val": 5_070}


def test_visual_genomes_regions(real_data: Path) -> None:
    found = read("visual_genome", real_data / "visual_genome")
    assert [tuple(one.row.values()) for one in found] == [
        (str(region["region_id"]), f"visual_genome/{image['id']}", region["phrase"], "train")
        for image in load(real_data / "visual_genome/region_descriptions.json")
        for region in image["regions"]
    ]
    assert len(found) == 7_278
    there = {name: path for name, paths in places(found).items() for path in paths}
    assert there == {f"visual_genome/{n}": real_data / f"visual_genome/VG_100K/{n}.jpg" for n in (1, 2, 4)}


def test_visual_genomes_questions(real_data: Path) -> None:
    found = read("visual_genome_qa", real_data / "visual_genome")
    assert [tuple(one.row[key] for key in ("question_id", "image_id", "question", "answers")) for one in found] == [
        (qa["qa_id"], f"visual_genome/{image['id']}", qa["question"], [qa["answer"]])
        for image in load(real_data / "visual_genome/question_answers.json")
        for qa in image["qas"]
    ]
    assert len(found) == 3_393


def test_cc3m(real_data: Path) -> None:
    found = read("cc3m", real_data / "cc3m")
    text = (real_data / "cc3m/Validation_GCC-1.1.0-Validation.tsv").read_text()
    captions = [line.split("\t")[0] for line in text.split("\n") if line]
    assert [tuple(one.row.values()) for one in found] == [
        (f"val-{number}", f"cc3m/val-{number}", caption, "val") for number, caption in enumerate(captions)
    ]
    assert len(found) == 15_833
