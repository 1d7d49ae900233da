"""Finding a public set's files under one folder, where its publisher's archives put them."""

from pathlib import Path

from pydantic import TypeAdapter

from eve_core.config import SourceConfig
from eve_core.data.records import KIND_OF_SET
from eve_core.errors import UserError

_NLVR2_FILES = ("train.json", "dev.json", "test1.json", "test.json", "test2.json")


def find_source(set_name: str, root: Path, images: Path | None = None) -> SourceConfig:
    """The source that a configuration would describe file by file.

    Args:
        set_name: coco_captions (annotations/captions_*.json or dataset_coco.json), vqa_v2 (v2_*_questions.json and
            v2_mscoco_*_annotations.json), nlvr2 (train.json, dev.json, test1.json), flickr8k or flickr30k
            (dataset_<set>.json).
        root: the folder of those files.
        images: the folder of the pictures; <root>/images when None, or `root` itself if it has no such folder.

    Raises:
        UserError: no such set, or its files are not there.
    """
    if set_name not in KIND_OF_SET:
        raise UserError(f"there is no set {set_name!r}; the sets are {', '.join(KIND_OF_SET)}")
    if not root.is_dir():
        raise UserError(f"the folder {root} of {set_name} does not exist; check the path")
    if images is None:
        images = root / "images" if (root / "images").is_dir() else root
    files: dict[str, object] = {"set": set_name, "images": images}
    match set_name:
        case "coco_captions":
            files["annotations"] = _found(root, "annotations/captions_*.json") or _found(root, "dataset_coco.json")
            wanted = "annotations/captions_*.json or dataset_coco.json"
        case "vqa_v2":
            files["questions"] = _without_test_dev(_found(root, "v2_*questions.json"))
            files["annotations"] = _found(root, "v2_mscoco_*annotations.json")
            wanted = "v2_*_questions.json"
        case "nlvr2":
            files["statements"] = [path for name in _NLVR2_FILES for path in _found(root, name)]
            wanted = "train.json, dev.json or test1.json"
        case _:
            wanted = f"dataset_{set_name}.json"
            files["annotations"] = next(iter(_found(root, wanted)), None)
    if not files.get("questions" if set_name == "vqa_v2" else "statements" if set_name == "nlvr2" else "annotations"):
        raise UserError(f"{root} holds no {wanted}; give the folder that does, or describe the files in a config")
    return TypeAdapter(SourceConfig).validate_python(files)


def _found(root: Path, pattern: str) -> list[Path]:
    """Files of that pattern, compressed or not."""
    return sorted([*root.glob(pattern), *root.glob(f"{pattern}.gz")])


def _without_test_dev(questions: list[Path]) -> list[Path]:
    """Without the test-dev questions where the test questions, which include them, are there too."""
    has_test = any("test2015" in path.name for path in questions)
    return [path for path in questions if not (has_test and "test-dev2015" in path.name)]
