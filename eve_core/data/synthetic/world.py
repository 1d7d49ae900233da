"""Drawing the world: pictures and annotation files, in the very forms that the readers of public sets read."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from eve_core.config import SyntheticWorldConfig
from eve_core.data.staging import staged_folder
from eve_core.data.synthetic.captions import captions
from eve_core.data.synthetic.questions import Question, Questioner
from eve_core.data.synthetic.scene import SIDE, Scene, draw, random_scene
from eve_core.data.synthetic.statements import random_statement
from eve_core.errors import UserError, explain_os_error
from eve_core.progress import track

Drawn = TypeVar("Drawn")

_MARKER = "world.json"
_COCO, _FLICKR, _NLVR2, _NLVR2_ORDER = range(4)
"""Streams of random numbers, so that the size of one set does not change another."""


def draw_world(config: SyntheticWorldConfig, out: Path, *, progress: bool = True) -> None:
    """Draw the world into `out`, in the place of an earlier one; equal settings give equal bytes.

    Files: coco/annotations/captions_{train,val}2014.json, coco/{train,val}2014/*.jpg, vqa2/v2_*.json,
    nlvr2/{train,dev}.json, nlvr2/images/*.png, flickr8k/dataset_flickr8k.json, flickr8k/images/*.jpg. No picture occurs
    twice in them.

    Raises:
        UserError: the sizes do not go together, `out` is someone else's folder, or the disk is full or read-only.
    """
    _check(config)
    try:
        with staged_folder(out, _MARKER) as folder:
            world = _World(config, folder)
            world.write_coco()
            world.write_flickr()
            world.write_nlvr2()
            world.draw(progress)
            _write_json(folder / _MARKER, config.model_dump(mode="json"))
    except OSError as error:
        raise explain_os_error(error, f"drawing the synthetic world into {out}") from error


def _check(config: SyntheticWorldConfig) -> None:
    sizes = {name: value for name, value in config if name != "flickr_test_images"}
    for name, value in sizes.items():
        if value < 0:
            raise UserError(f"data.synthetic.{name} is {value} and cannot be negative")
    if config.nlvr2_pairs % 2:
        raise UserError(
            f"data.synthetic.nlvr2_pairs is {config.nlvr2_pairs} and must be even: half of the statements are true"
        )
    if not 0 <= config.flickr_test_images * 3 // 2 <= config.flickr_images:
        raise UserError(
            f"data.synthetic.flickr_test_images is {config.flickr_test_images}, too many for flickr_images "
            f"{config.flickr_images}: the test gallery, and half as many for validation, are taken from them"
        )


class _World:
    """The world's scenes; annotations are written set by set, and in the end all pictures are drawn."""

    def __init__(self, config: SyntheticWorldConfig, folder: Path) -> None:
        self._config = config
        self._folder = folder
        self._pictures: dict[Scene, Path] = {}

    def write_coco(self) -> None:
        """COCO captions, and VQA v2 questions about the same pictures."""
        first_val = self._config.coco_images - self._config.coco_images // 12
        self._write_coco_split("train", range(first_val))
        self._write_coco_split("val", range(first_val, self._config.coco_images))

    def write_flickr(self) -> None:
        """Flickr8k in Karpathy's form."""
        test = self._config.flickr_test_images
        val = test // 2
        train = self._config.flickr_images - val - test
        images: list[dict[str, Any]] = []
        for split, first, count in (("train", 0, train), ("val", train, val), ("test", train + val, test)):
            described: set[frozenset[tuple[str, str, str]]] = set()
            for index in range(first, first + count):
                rng = self._generator(_FLICKR, index)
                # Two pictures of a gallery that are described alike could not be told apart by their captions.
                scene = _until(
                    lambda scene: self._is_new(scene) and scene.description() not in described,  # noqa: B023
                    lambda: random_scene(rng, fewest=2),  # noqa: B023
                )
                if split != "train":
                    described.add(scene.description())
                name = f"{index:06d}.jpg"
                self._pictures[scene] = self._folder / "flickr8k/images" / name
                images.append(_karpathy_image(index, name, split, captions(rng, scene)))
        _write_json(self._folder / "flickr8k/dataset_flickr8k.json", {"images": images, "dataset": "flickr8k"})

    def write_nlvr2(self) -> None:
        """NLVR2: each sentence as often true as false in each split."""
        dev = self._config.nlvr2_pairs // 10
        train = self._config.nlvr2_pairs // 2 - dev
        self._write_nlvr2_split("train", range(train))
        self._write_nlvr2_split("dev", range(train, train + dev))

    def draw(self, progress: bool) -> None:
        """Draw and save all pictures."""
        for folder in {path.parent for path in self._pictures.values()}:
            folder.mkdir(parents=True, exist_ok=True)
        pictures = list(self._pictures.items())
        for scene, path in track(pictures, "drawing the synthetic world", unit=" pictures") if progress else pictures:
            draw(scene).save(path, quality=92)  # of a JPEG; PNG knows no quality

    def _generator(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self._config.seed, *stream])

    def _is_new(self, *scenes: Scene) -> bool:
        return len({*scenes}) == len(scenes) and not any(scene in self._pictures for scene in scenes)

    def _write_coco_split(self, split: str, indices: range) -> None:
        subset, questioner = f"{split}2014", Questioner()
        images, sentences, questions, annotations = [], [], [], []
        for index in indices:
            number = index + 1  # COCO's picture number
            rng = self._generator(_COCO, index)
            scene = _until(self._is_new, lambda: random_scene(rng))  # noqa: B023
            name = f"COCO_{subset}_{number:012d}.jpg"
            self._pictures[scene] = self._folder / "coco" / subset / name
            images.append({"license": 1, "file_name": name, "height": SIDE, "width": SIDE, "id": number})
            for place, text in enumerate(captions(rng, scene)):
                sentences.append({"image_id": number, "id": 2 * number + place, "caption": text})
            for place, question in enumerate(questioner.ask(rng, scene, self._config.questions_per_image)):
                question_id = 1000 * number + place
                questions.append({"image_id": number, "question": question.text, "question_id": question_id})
                annotations.append(_vqa_annotation(question, question_id, number))
        captions_file = self._folder / f"coco/annotations/captions_{subset}.json"
        _write_json(
            captions_file,
            {"info": _INFO, "licenses": [{**_LICENSE, "id": 1}], "images": images, "annotations": sentences},
        )
        head = {
            "info": _INFO,
            "task_type": "Open-Ended",
            "data_type": "mscoco",
            "license": _LICENSE,
            "data_subtype": subset,
        }
        vqa = self._folder / "vqa2"
        _write_json(vqa / f"v2_OpenEnded_mscoco_{subset}_questions.json", {**head, "questions": questions})
        _write_json(vqa / f"v2_mscoco_{subset}_annotations.json", {**head, "annotations": annotations})

    def _write_nlvr2_split(self, split: str, groups: range) -> None:
        lines = []
        for group in groups:
            rng = self._generator(_NLVR2, group)
            pairs = _until(lambda pairs: self._is_new(*pairs.true, *pairs.false), lambda: random_statement(rng))  # noqa: B023
            labelled = [(True, pairs.true), (False, pairs.false)]
            if rng.random() < 0.5:
                labelled.reverse()
            for number, (label, scenes) in enumerate(labelled):
                stem = f"{split}-{group}-{number}"
                for side, scene in enumerate(scenes):
                    self._pictures[scene] = self._folder / "nlvr2/images" / f"{stem}-img{side}.png"
                lines.append(_nlvr2_line(pairs.sentence, f"{stem}-0", label))
        order = self._generator(_NLVR2_ORDER, groups.start).permutation(len(lines))
        text = "".join(json.dumps(lines[i]) + "\n" for i in order)
        _write_text(self._folder / f"nlvr2/{split}.json", text)


def _until(good: Callable[[Drawn], bool], make: Callable[[], Drawn]) -> Drawn:
    """The first of what `make` returns that is good."""
    while not good(made := make()):
        pass
    return made


# The public sets' own records.

_INFO = {
    "description": "A synthetic world of coloured shapes.",
    "url": "",
    "version": "1.0",
    "year": 2024,
    "contributor": "drawn",
    "date_created": "2024-01-01 00:00:00",
}
_LICENSE = {"url": "", "name": "none: the pictures are drawn"}


def _vqa_annotation(question: Question, question_id: int, image_id: int) -> dict[str, Any]:
    answers = [
        {"answer": text, "answer_confidence": "yes" if text == question.answer else "maybe", "answer_id": person}
        for person, text in enumerate(question.answers, start=1)
    ]
    return {
        "question_type": question.question_type,
        "multiple_choice_answer": question.answer,
        "answers": answers,
        "image_id": image_id,
        "answer_type": question.answer_type,
        "question_id": question_id,
    }


def _karpathy_image(index: int, name: str, split: str, texts: list[str]) -> dict[str, Any]:
    sentences = [
        {"tokens": re.findall(r"\w+", text), "raw": text, "imgid": index, "sentid": len(texts) * index + place}
        for place, text in enumerate(texts)
    ]
    return {
        "sentids": [sentence["sentid"] for sentence in sentences],
        "imgid": index,
        "sentences": sentences,
        "split": split,
        "filename": name,
    }


def _nlvr2_line(sentence: str, identifier: str, label: bool) -> dict[str, Any]:
    return {
        "validation": {"0": str(label)},
        "sentence": sentence,
        "left_url": "",
        "writer": "0",
        "label": str(label),
        "right_url": "",
        "synset": "shape",
        "query": "shapes",
        "identifier": identifier,
        "extra_validations": {},
    }


def _write_json(path: Path, content: object) -> None:
    _write_text(path, json.dumps(content))


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
