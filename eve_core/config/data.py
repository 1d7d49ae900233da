"""Which data a run reads: the public sets it is prepared from, where it is versioned, how it is validated."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from eve_core.config.section import Section


class CocoCaptionsSource(Section):
    """COCO Captions, in the official form (info, images, annotations) or in Karpathy's (images with sentences)."""

    set: Literal["coco_captions"] = "coco_captions"
    annotations: list[Path]
    """Caption files; the form of each is recognised by its keys."""
    images: Path
    """Folder that holds the pictures, directly or in train2014 and val2014."""


class VqaV2Source(Section):
    """VQA v2, official questions and annotations."""

    set: Literal["vqa_v2"] = "vqa_v2"
    questions: list[Path]
    """Questions files (v2_OpenEnded_mscoco_*_questions.json)."""
    annotations: list[Path] = []
    """Annotations files (v2_mscoco_*_annotations.json); questions of a split without one have no answers."""
    images: Path
    """Folder of the COCO pictures, directly or in train2014 and val2014."""


class Nlvr2Source(Section):
    """NLVR2, one statement a json line."""

    set: Literal["nlvr2"] = "nlvr2"
    statements: list[Path]
    """Statement files, named after their split (train.json, dev.json, test1.json)."""
    images: Path
    """Folder of the pictures (dev-850-0-img0.png), directly or in the official sub-folders."""


class FlickrSource(Section):
    """Flickr8k or Flickr30k in Karpathy's form."""

    set: Literal["flickr8k", "flickr30k"]
    annotations: Path
    """dataset_flickr8k.json or dataset_flickr30k.json."""
    images: Path
    """Folder of the pictures."""


SourceConfig = Annotated[CocoCaptionsSource | VqaV2Source | Nlvr2Source | FlickrSource, Field(discriminator="set")]


class SyntheticWorldConfig(Section):
    """Sizes of the synthetic world: drawn scenes, written in the public sets' own file formats."""

    seed: int = 0
    """Everything drawn follows from it, to the byte."""
    coco_images: int = 6000
    """Captioned pictures (COCO form); a twelfth of them is the validation split."""
    questions_per_image: int = 3
    """Questions about each of them (VQA v2 form)."""
    nlvr2_pairs: int = 4000
    """Pairs of pictures with a statement (NLVR2 form), half of them true; a fifth is the dev split."""
    flickr_images: int = 2000
    """Captioned pictures for retrieval (Karpathy form)."""
    flickr_test_images: int = 250
    """How many of those are the test gallery."""


class Split(Section):
    """Rows of one public set."""

    set: str
    """The set's name (coco_captions, vqa_v2, nlvr2, flickr8k, flickr30k)."""
    splits: list[str] = Field(min_length=1)
    """Its splits, as the set names them (train, val, dev, test)."""


class TaskDataConfig(Section):
    """What a task trains on and what it is scored on."""

    train: Split
    """Training rows."""
    evaluate: Split
    """Held-out rows; no picture of them may be trained on."""
    holdout: float | None = Field(default=None, gt=0, lt=1)
    """For a set with one labelled split: this share of it, chosen by picture, is scored and the rest trained on."""

    @model_validator(mode="after")
    def _no_training_on_the_test(self) -> "TaskDataConfig":
        train, test = self.train, self.evaluate
        shared = {*train.splits} & {*test.splits} if train.set == test.set else {*()}
        if self.holdout is None and shared:
            raise ValueError(
                f"{train.set} split {', '.join(sorted(shared))} is both trained on and scored; "
                "set holdout to the share that is kept for scoring"
            )
        if self.holdout is not None and train != test:
            raise ValueError("holdout divides one split; name the same split in train and evaluate")
        return self


class DataConfig(Section):
    """The data set of a run: prepared from public sets, versioned with DVC, read by revision."""

    repository: str = "."
    """Git repository (path or URL) whose DVC file pins the prepared set."""
    path: str = "data"
    """The prepared folder inside that repository; DVC tracks it as <path>.dvc."""
    revision: str = "HEAD"
    """Git revision to read: a commit, tag or branch. It is resolved to a commit in the first step of a run."""
    remote: str | None = None
    """Name of the DVC remote; the repository's default when not given."""
    commit: bool = False
    """Whether `eve data prepare` may commit the new data revision to the repository (created when missing)."""
    sources: list[SourceConfig] = []
    """The public sets that `eve data prepare` reads, in this order."""
    synthetic: SyntheticWorldConfig | None = None
    """Draw the synthetic world first; the sources then read its files through ${EVE_SYNTHETIC_WORLD}."""
    allow_partial: bool = True
    """Whether annotations whose pictures are missing are left out and counted (true) or stop the preparation."""


class ValidationConfig(Section):
    """The data checks that stop a run."""

    enabled_suites: list[str] = ["images", "captions", "questions", "statements"]
    """Which kinds of table are checked; a kind that the data set does not hold is skipped and reported."""
    rows_in_message: int = 5
    """How many offending rows a failing expectation names."""
