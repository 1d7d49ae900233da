"""Which data a run reads: the public sets it is prepared from, where it is versioned, how it is validated."""

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from eve_core.config.section import Section


class CocoCaptionsSource(Section):
    """COCO Captions, in the official form (info, images, annotations) or in Karpathy's (images with sentences)."""

    set: Literal["coco_captions"] = "coco_captions"
    annotations: list[Path]
    """Caption files; the form of each is recognised by its keys."""
    images: Path
    """Folder that holds the pictures, directly or in train2014 and val2014."""


class VisualGenomeSource(Section):
    """Visual Genome's region descriptions, each a caption of its picture."""

    set: Literal["visual_genome"] = "visual_genome"
    regions: Path
    """region_descriptions.json."""
    image_data: Path
    """image_data.json, which says which pictures are COCO's."""
    images: Path
    """Folder that holds the pictures, directly or in VG_100K and VG_100K_2."""


class VisualGenomeQaSource(Section):
    """Visual Genome's questions, each with one answer."""

    set: Literal["visual_genome_qa"] = "visual_genome_qa"
    questions: Path
    """question_answers.json."""
    image_data: Path
    """image_data.json, which says which pictures are COCO's."""
    images: Path
    """Folder that holds the pictures, directly or in VG_100K and VG_100K_2."""


class WebCaptionsSource(Section):
    """SBU, CC3M or CC12M: captions of pictures on the web, which everybody downloads anew."""

    set: Literal["sbu", "cc3m", "cc12m"]
    annotations: list[Path] = Field(min_length=1)
    """The official files (sbu-captions-all.json, Train_GCC-training.tsv, cc12m.tsv), or folders by img2dataset."""
    images: Path | None = None
    """Folder of the official files' pictures, named by row (from 0) or address; img2dataset's hold their own."""


class VqaV2Source(Section):
    """VQA v2, official questions and annotations."""

    set: Literal["vqa_v2"] = "vqa_v2"
    questions: list[Path]
    """Questions files (v2_OpenEnded_mscoco_*_questions.json)."""
    annotations: list[Path] = []
    """Annotations files (v2_mscoco_*_annotations.json); questions of a split without one have no answers."""
    images: Path
    """Folder of the COCO pictures, directly or in train2014, val2014 and test2015."""


class Nlvr2Source(Section):
    """NLVR2, one statement a json line."""

    set: Literal["nlvr2"] = "nlvr2"
    statements: list[Path]
    """Statement files, named after their split (train.json, dev.json, test1.json)."""
    images: Path
    """Folder of the pictures (dev-850-0-img0.png), directly or in the official sub-folders."""


class FlickrSource(Section):
    """Flickr8k or Flickr30k in Karpathy's form, as token file, or as json lines."""

    set: Literal["flickr8k", "flickr30k"]
    annotations: Path | list[Path]
    """dataset_flickr8k.json, Flickr8k.token.txt, results_20130124.token, or a valid_ann.jsonl for each split."""
    splits: list[Path] = []
    """For a token file, lists of each split's pictures (Flickr_8k.trainImages.txt); without them all are train."""
    images: Path
    """Folder of the pictures."""


SourceConfig = Annotated[
    CocoCaptionsSource
    | VisualGenomeSource
    | VisualGenomeQaSource
    | WebCaptionsSource
    | VqaV2Source
    | Nlvr2Source
    | FlickrSource,
    Field(discriminator="set"),
]


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
    """The set's name: coco_captions, visual_genome, sbu, cc3m, cc12m, flickr8k, flickr30k, vqa_v2, visual_genome_qa or
    nlvr2."""
    splits: list[str] = Field(min_length=1)
    """Its splits, as the set names them (train, val, dev, test)."""

    @property
    def name(self) -> str:
        """As people and reports say it: the set and its splits."""
        return f"{self.set} {', '.join(self.splits)}"


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


class RemoteConfig(Section):
    """The DVC remote that holds the bytes of data revisions: one that the data repository names, or one given here.

    Credentials come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN).
    """

    name: str | None = None
    """Name of a remote of the data repository; `remote: NAME` is short for it."""
    url: str | None = None
    """A folder, or s3://bucket/prefix."""
    endpoint: str | None = None
    """URL of the S3 server that has `url`'s bucket; Amazon's, or that of AWS_ENDPOINT_URL, when not given."""

    @model_validator(mode="after")
    def _one_remote_without_credentials(self) -> "RemoteConfig":
        if (self.name is None) == (self.url is None):
            raise ValueError("give either the name of a remote of the data repository, or the url of one")
        if self.endpoint is not None and not (self.url or "").startswith("s3://"):
            raise ValueError("endpoint is for a url that begins with s3://; remove it, or give such a url")
        if any("@" in urlsplit(address or "").netloc for address in (self.url, self.endpoint)):
            raise ValueError("its url and endpoint may hold no credentials; set AWS_ACCESS_KEY_ID and the like instead")
        return self


class DataConfig(Section):
    """The data set of a run: prepared from public sets, versioned with DVC, read by revision."""

    repository: str = "."
    """Git repository (path or URL) whose DVC file pins the prepared set; an http URL without credentials, which Git
    takes from its environment."""
    path: str = "data"
    """The prepared folder inside that repository; DVC tracks it as <path>.dvc."""
    revision: str = "HEAD"
    """Git revision to read: a commit, tag or branch. It is resolved to a commit in the first step of a run."""
    remote: RemoteConfig | None = None
    """Where its bytes are kept; the repository's default remote when not given."""
    commit: bool = False
    """Whether `eve data prepare` may commit the new data revision to the repository (created when missing)."""
    sources: list[SourceConfig] = []
    """The public sets that `eve data prepare` reads, in this order."""
    synthetic: SyntheticWorldConfig | None = None
    """Draw the synthetic world first; the sources then read its files through ${EVE_SYNTHETIC_WORLD}."""
    allow_partial: bool = True
    """Whether a part of a set will do, and records without picture or proper form go into quarantine (true), or the
    first of them, or another number of records than the published one, stops the preparation."""
    protected: list[Split] | None = None
    """What is scored: training rows of any set that show one of its pictures go into quarantine; all evaluation splits
    of the downstream sets when not given."""
    leak_ways: list[Literal["id", "coco_id", "bytes", "looks", "statement"]] = [
        "id",
        "coco_id",
        "bytes",
        "looks",
        "statement",
    ]
    """What counts as the same picture or statement there: its id, COCO's number, the same bytes, resized and re-encoded
    copies, and for NLVR2 a statement with the same words."""
    picture_short_side: int | None = Field(default=None, ge=32)
    """Store pictures with a longer short side as JPEGs of this one; the original files when not given."""

    @field_validator("repository")
    @classmethod
    def _without_credentials(cls, repository: str) -> str:
        address = urlsplit(repository)
        if address.scheme in ("http", "https") and "@" in address.netloc:
            raise ValueError(
                "its URL may hold no credentials, for it is recorded with every run; give them to Git in "
                "GIT_CONFIG_COUNT, GIT_CONFIG_KEY_0 (http.extraHeader) and GIT_CONFIG_VALUE_0"
            )
        return repository

    @field_validator("remote", mode="before")
    @classmethod
    def _remote_by_name(cls, remote: Any) -> Any:
        return {"name": remote} if isinstance(remote, str) else remote


class ValidationConfig(Section):
    """The data checks: what stops a run, what is left out of it, and what is only reported."""

    enabled_suites: list[str] = ["columns", "images", "captions", "questions", "statements", "splits"]
    """Which kinds of table are checked; a kind that the data set does not hold is skipped and reported."""
    rows_in_message: int = 5
    """How many offending rows a failing expectation names."""
    quarantine_budget: float = Field(default=0.01, ge=0, le=1)
    """Share of a table's rows that may go into quarantine; more of them stop the run."""
    split_shares: dict[str, dict[str, float]] = {}
    """By set and split, the share of the set's rows that is expected there, such as {vqa_v2: {train: 0.67}}."""
    split_share_tolerance: float = Field(default=0.02, ge=0, le=1)
    """How far a share may be from the expected one, up or down."""
    drift_warning: float = Field(default=0.1, ge=0, le=1)
    """Jensen-Shannon distance from the previous revision's statistics above which drift is reported as a warning."""
    drift_stop: float = Field(default=0.5, ge=0, le=1)
    """The same above which it stops the run; 1 for never."""
