"""Finding a set's files in a folder."""

from pathlib import Path

import pytest

from eve_core.config import Nlvr2Source, VqaV2Source
from eve_core.data.sources.layout import find_source
from eve_core.errors import UserError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_vqa_v2_takes_each_test_question_once(tmp_path: Path) -> None:
    names = [f"v2_OpenEnded_mscoco_{subset}_questions.json" for subset in ("test-dev2015", "test2015", "train2014")]
    touch(tmp_path, *names, "v2_mscoco_train2014_annotations.json")
    source = find_source("vqa_v2", tmp_path)
    assert isinstance(source, VqaV2Source)
    assert [path.name for path in source.questions] == names[1:]
    assert [path.name for path in source.annotations] == ["v2_mscoco_train2014_annotations.json"]


def test_nlvr2_takes_the_files_of_its_splits(tmp_path: Path) -> None:
    touch(tmp_path, "dev.json", "train.json.gz", "notes.json", "images/a.png")
    source = find_source("nlvr2", tmp_path)
    assert isinstance(source, Nlvr2Source)
    assert [path.name for path in source.statements] == ["train.json.gz", "dev.json"]
    assert source.images == tmp_path / "images"


@pytest.mark.parametrize("name", ["coco_captions", "vqa_v2", "nlvr2", "flickr8k", "flickr30k"])
def test_an_empty_folder_says_what_is_missing(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"holds no .*json"):
        find_source(name, tmp_path)


def test_an_unknown_set_and_a_missing_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no set 'imagenet'; the sets are coco_captions"):
        find_source("imagenet", tmp_path)
    with pytest.raises(UserError, match=r"nowhere of nlvr2 does not exist"):
        find_source("nlvr2", tmp_path / "nowhere")
