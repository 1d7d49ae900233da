"""Finding a set's files in a folder."""

from pathlib import Path

import pytest

from eve_core.config import (
    FlickrSource,
    Nlvr2Source,
    VisualGenomeQaSource,
    VisualGenomeSource,
    VqaV2Source,
    WebCaptionsSource,
)
from eve_core.data.records import KIND_OF_SET
from eve_core.data.sources.layout import find_source
from eve_core.errors import UserError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["annotations/captions_train2014.json", "dataset_coco.json"], ["annotations/captions_train2014.json"]),
        (["annotations/instances_train2014.json", "dataset_coco.json"], ["dataset_coco.json"]),
        (["karpathy/dataset_coco.json"], ["karpathy/dataset_coco.json"]),
    ],
)
def test_coco_captions_in_the_official_form_or_karpathys(tmp_path: Path, files: list[str], expected: list[str]) -> None:
    touch(tmp_path, *files)
    source = find_source("coco_captions", tmp_path)
    assert source.annotations == [tmp_path / name for name in expected]
    assert source.images == tmp_path


def test_vqa_v2_takes_each_test_question_once(tmp_path: Path) -> None:
    names = [f"v2_OpenEnded_mscoco_{subset}_questions.json" for subset in ("test-dev2015", "test2015", "train2014")]
    touch(tmp_path, *names, "v2_mscoco_train2014_annotations.json")
    source = find_source("vqa_v2", tmp_path)
    assert isinstance(source, VqaV2Source)
    assert [path.name for path in source.questions] == names[1:]
    assert [path.name for path in source.annotations] == ["v2_mscoco_train2014_annotations.json"]
    (tmp_path / names[1]).unlink()
    assert [path.name for path in find_source("vqa_v2", tmp_path).questions] == [names[0], names[2]]


def test_nlvr2_takes_the_files_of_its_splits(tmp_path: Path) -> None:
    touch(tmp_path, "dev.json", "train.json.gz", "notes.json", "images/a.png")
    source = find_source("nlvr2", tmp_path)
    assert isinstance(source, Nlvr2Source)
    assert [path.name for path in source.statements] == ["train.json.gz", "dev.json"]


def test_visual_genome_as_archives_unpack(tmp_path: Path) -> None:
    touch(tmp_path, "image_data.json", "annotations/region_descriptions.json", "images/VG_100K/2.jpg")
    source = find_source("visual_genome", tmp_path)
    assert isinstance(source, VisualGenomeSource)
    assert source.regions == tmp_path / "annotations/region_descriptions.json"
    assert source.image_data == tmp_path / "image_data.json"
    assert source.images == tmp_path / "images"
    touch(tmp_path, "question_answers.json")
    assert isinstance(find_source("visual_genome_qa", tmp_path), VisualGenomeQaSource)


def test_flickr8k_prefers_the_form_that_says_the_splits(tmp_path: Path) -> None:
    lists = [f"Flickr8k_text/Flickr_8k.{name}Images.txt" for name in ("dev", "test", "train")]
    touch(tmp_path, "Flickr8k_text/Flickr8k.token.txt", *lists, "Flicker8k_Dataset/a.jpg")
    source = find_source("flickr8k", tmp_path)
    assert isinstance(source, FlickrSource)
    assert source.annotations == tmp_path / "Flickr8k_text/Flickr8k.token.txt"
    assert source.splits == [tmp_path / name for name in lists]
    assert source.images == tmp_path / "Flicker8k_Dataset"
    touch(tmp_path, "dataset_flickr8k.json")
    source = find_source("flickr8k", tmp_path)
    assert isinstance(source, FlickrSource)
    assert (source.annotations, source.splits) == (tmp_path / "dataset_flickr8k.json", [])


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["results_20130124.token"], "results_20130124.token"),
        (["train_ann.jsonl", "valid_ann.jsonl"], ["train_ann.jsonl", "valid_ann.jsonl"]),
    ],
)
def test_flickr30k_in_its_other_forms(tmp_path: Path, files: list[str], expected: str | list[str]) -> None:
    touch(tmp_path, *files)
    source = find_source("flickr30k", tmp_path)
    assert isinstance(source, FlickrSource)
    wanted = tmp_path / expected if isinstance(expected, str) else [tmp_path / name for name in expected]
    assert source.annotations == wanted


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["Train_GCC-training.tsv", "Validation_GCC-1.1.0-Validation.tsv"], None),
        (["cc3m.tsv", "00000.tar", "00000.parquet", "00001.parquet"], [""]),
        (["train/00000.parquet", "val/00000.parquet"], ["train", "val"]),
    ],
)
def test_web_captions_as_files_or_as_img2datasets_output(
    tmp_path: Path, files: list[str], expected: list[str] | None
) -> None:
    touch(tmp_path, *files)
    source = find_source("cc3m", tmp_path, tmp_path / "downloads")
    assert isinstance(source, WebCaptionsSource)
    assert source.annotations == [tmp_path / name for name in (files if expected is None else expected)]
    assert source.images == tmp_path / "downloads"


@pytest.mark.parametrize("name", KIND_OF_SET)
def test_an_empty_folder_says_what_is_missing(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"holds no .*(json|tsv)"):
        find_source(name, tmp_path)


def test_an_unknown_set_and_a_missing_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no set 'imagenet'; the sets are coco_captions"):
        find_source("imagenet", tmp_path)
    with pytest.raises(UserError, match=r"nowhere of nlvr2 does not exist"):
        find_source("nlvr2", tmp_path / "nowhere")
