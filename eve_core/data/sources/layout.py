"""Finding a public set's files under one folder, where its publisher's archives put them."""

from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter

from eve_core.config import SourceConfig
from eve_core.data.records import KIND_OF_SET
from eve_core.errors import UserError

_PLACES = ("", "annotations", "karpathy", "data", "nlvr2/data", "Flickr8k_text")
"""Where annotations are looked for; those of the first place that has any are taken."""


class _Files(NamedTuple):
    """The files that a field of a source names."""

    patterns: tuple[str, ...]
    optional: bool = False
    single: bool = False
    """Whether the field wants one path in place of a list."""
    folders: bool = False
    """Whether the field wants the folders that the files are in."""

    def find(self, root: Path) -> list[Path]:
        """Those files, compressed or not, in the order of the patterns."""
        for place in _PLACES:
            found = [path for pattern in self.patterns for path in _matching(root / place, pattern)]
            if found:
                return list(dict.fromkeys(path.parent for path in found)) if self.folders else found
        return []


def _one(pattern: str) -> _Files:
    return _Files((pattern,), single=True)


_Form = dict[str, _Files]
"""One of the forms of a set, by field of its source."""

_IMG2DATASET: _Form = {"annotations": _Files(("*.parquet", "*.tar", "*/*.parquet", "*/*.tar"), folders=True)}
_TSV: _Form = {"annotations": _Files(("*.tsv",))}
_IMAGE_DATA = _one("image_data.json")

_FORMS: dict[str, tuple[_Form, ...]] = {
    "coco_captions": (
        {"annotations": _Files(("captions_*.json",))},
        {"annotations": _Files(("dataset_coco.json",))},
    ),
    "visual_genome": ({"regions": _one("region_descriptions.json"), "image_data": _IMAGE_DATA},),
    "visual_genome_qa": ({"questions": _one("question_answers.json"), "image_data": _IMAGE_DATA},),
    "sbu": (_IMG2DATASET, {"annotations": _Files(("sbu*.json",))}),
    "cc3m": (_IMG2DATASET, _TSV),
    "cc12m": (_IMG2DATASET, _TSV),
    "flickr8k": (
        {"annotations": _one("dataset_flickr8k.json")},
        {
            "annotations": _one("Flickr8k.token.txt"),
            "splits": _Files(("Flickr_8k.*Images.txt",), optional=True),
        },
        {"annotations": _Files(("*_ann.jsonl",))},
    ),
    "flickr30k": (
        {"annotations": _one("dataset_flickr30k.json")},
        {
            "annotations": _one("results*.token"),
            "splits": _Files(("train.txt", "val.txt", "test.txt", "flickr30k_*.txt"), optional=True),
        },
        {"annotations": _Files(("*_ann.jsonl",))},
    ),
    "vqa_v2": (
        {
            "questions": _Files(("v2_*questions.json",)),
            "annotations": _Files(("v2_mscoco_*annotations.json",), optional=True),
        },
    ),
    "nlvr2": ({"statements": _Files(("train.json", "dev.json", "test1.json", "test.json", "test2.json"))},),
}
"""The forms of each set; the first that is there is taken."""

_IMAGES = {
    "flickr8k": ("images", "Flicker8k_Dataset", "Flickr8k_Dataset"),
    "flickr30k": ("images", "flickr30k-images", "flickr30k_images"),
    "sbu": ("images", "sbu_images"),
    "nlvr2": (),  # images/train stands beside dev and test1
}
"""Names of the folder of pictures beside the files; "images" for the other sets."""


def find_source(set_name: str, root: Path, images: Path | None = None) -> SourceConfig:
    """The source that a configuration would describe file by file.

    Args:
        set_name: one of `KIND_OF_SET`.
        root: the folder of its files, under the names that its publisher (or img2dataset) gives them.
        images: the folder of the pictures; <root>/images or the like when None, or `root` if it has no such folder.

    Raises:
        UserError: no such set, or its files are not there.
    """
    if set_name not in KIND_OF_SET:
        raise UserError(f"there is no set {set_name!r}; the sets are {', '.join(KIND_OF_SET)}")
    if not root.is_dir():
        raise UserError(f"the folder {root} of {set_name} does not exist; check the path")
    for form in _FORMS[set_name]:
        found = {field: files.find(root) for field, files in form.items()}
        if all(found[field] or files.optional for field, files in form.items()):
            break
    else:
        forms = [" with ".join(_wanted(files) for files in form.values()) for form in _FORMS[set_name]]
        raise UserError(f"{root} holds no {', no '.join(forms)}; give the folder that does, or describe it in a config")
    if set_name == "vqa_v2":
        found["questions"] = _without_test_dev(found["questions"])
    folders = [root / name for name in _IMAGES.get(set_name, ("images",)) if (root / name).is_dir()]
    paths = {field: found[field][0] if files.single else found[field] for field, files in form.items()}
    return TypeAdapter(SourceConfig).validate_python(
        {"set": set_name, **paths, "images": images or next(iter(folders), root)}
    )


def _matching(folder: Path, pattern: str) -> list[Path]:
    return sorted([*folder.glob(pattern), *folder.glob(f"{pattern}.gz")])


def _wanted(files: _Files) -> str:
    return " or ".join(files.patterns)


def _without_test_dev(questions: list[Path]) -> list[Path]:
    """Without the test-dev questions where the test questions, which include them, are there too."""
    has_test = any("test2015" in path.name for path in questions)
    return [path for path in questions if not (has_test and "test-dev2015" in path.name)]
