"""A run's YAML: what it may say, and how it is told what is wrong with it."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from eve_core.config import DataConfig, RunConfig, ScheduleConfig, SourceConfig, load_config
from eve_core.config.section import Section
from eve_core.errors import UserError

REPOSITORY = Path(__file__).parents[2]
MINIMAL: dict[str, Any] = {
    "name": "small",
    "data": {"sources": [{"set": "nlvr2", "statements": ["dev.json"], "images": "pictures"}]},
    "pretraining": {
        "data": [{"set": "coco_captions", "splits": ["train"]}],
        "optimization": {"steps": 3, "batch_size": 2, "learning_rate": 0.001},
    },
    "tasks": {
        "nlvr2": {
            "data": {
                "train": {"set": "nlvr2", "splits": ["train"]},
                "evaluate": {"set": "nlvr2", "splits": ["dev"]},
            },
            "finetuning": {"optimization": {"steps": 3, "batch_size": 2, "learning_rate": 0.001}},
            "gate": {"floors": [{"metric": "accuracy", "at_least": 0.5}]},
        }
    },
}


@pytest.fixture
def read(tmp_path):
    """Writes MINIMAL, with the value at a dotted key set or (None) removed, and reads it."""

    def read(key: str | None = None, value: Any = None) -> RunConfig:
        tree = copy.deepcopy(MINIMAL)
        if key is not None:
            *parents, last = key.split(".")
            section = tree
            for part in parents:
                section = section.setdefault(part, {})
            if value is None:
                del section[last]
            else:
                section[last] = value
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump(tree))
        return load_config(path)

    return read


def test_what_is_left_out_has_its_default(read):
    config = read()
    assert config.pretraining.image_mask_ratio == 0.75
    assert config.pretraining.text_mask_ratio == 0.5
    assert config.seed == 0


@pytest.mark.parametrize("path", sorted((REPOSITORY / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_every_config_of_the_project_is_valid(path, monkeypatch, tmp_path):
    monkeypatch.setenv("EVE_SYNTHETIC_WORLD", str(tmp_path))
    assert load_config(path).tasks


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("sed", "seed"),
        ("pretraining.optimisation", "optimization"),
        ("pretraining.optimization.learning_rat", "learning_rate"),
        ("tasks.nlvr2.gate.min_gains", "min_gain"),
        ("tasks.nlvr2.finetuning.optimization.batchsize", "batch_size"),
        ("tasks.nlvr2.data.holdot", "holdout"),
        ("registry.tracking_url", "tracking_uri"),
        ("data.synthetic.coco_image", "coco_images"),
    ],
)
def test_an_unknown_key_is_named_in_full_with_its_nearest_neighbour(read, key, near):
    with pytest.raises(UserError) as error:
        read(key, 1)
    assert f"unknown key {key} (did you mean {near}?)" in str(error.value)


def test_an_unknown_key_of_a_source_is_named_with_its_nearest_neighbour(read):
    source = {"set": "nlvr2", "statement": ["dev.json"], "images": "pictures"}
    with pytest.raises(UserError) as error:
        read("data.sources", [source])
    assert "unknown key data.sources.0.statement (did you mean statements?)" in str(error.value)
    assert "key data.sources.0.statements is missing" in str(error.value)


def test_an_unknown_key_like_no_other_is_to_be_removed(read):
    with pytest.raises(UserError, match=r"unknown key pretraining\.zzz; remove it"):
        read("pretraining.zzz", 1)


@pytest.mark.parametrize("key", ["name", "pretraining.optimization.batch_size", "tasks.nlvr2.gate", "tasks"])
def test_a_missing_key_is_named_in_full(read, key):
    with pytest.raises(UserError, match=f"key {key} is missing"):
        read(key)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("pretraining.optimization.steps", "many", r"pretraining\.optimization\.steps: .*integer.*'many'"),
        ("pretraining.optimization.learning_rate", "fast", r"learning_rate: .*number.*'fast'"),
        ("pretraining.optimization.steps", -1, r"steps: .*greater than 0, not -1"),
        ("pretraining.image_mask_ratio", 1.5, r"image_mask_ratio: .*less than 1, not 1\.5"),
        ("pretraining.tasks", [], r"pretraining\.tasks: .*at least 1"),
        ("pretraining.tasks", ["mlm", "mam"], r"pretraining\.tasks\.1: .*'mlm', 'mim', 'itc' or 'itm', not 'mam'"),
        ("pretraining.load_balance_weight", -1, r"load_balance_weight: .*greater than or equal to 0, not -1"),
        ("tasks.nlvr2.finetuning.image_size", 0, r"image_size: .*greater than 0, not 0"),
        ("tasks.nlvr2.finetuning.head", "wide", r"head: .*'plain' or 'bi_attention', not 'wide'"),
        ("pretraining.optimization.precision", "fp8", r"precision: .*'float32' or 'bf16', not 'fp8'"),
        ("name", "A Run", r"name: .*not 'A Run'"),
        ("tasks.nlvr2.gate.floors", [], r"floors: .*at least 1"),
        ("tasks.captioning", {}, r"tasks\.captioning.*'vqa', 'nlvr2' or 'retrieval'"),
        ("data.sources", [{"set": "imagenet"}], r"data\.sources\.0: .*imagenet"),
    ],
)
def test_a_wrong_value_is_named_with_its_key(read, key, value, message):
    with pytest.raises(UserError, match=message):
        read(key, value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tasks": ["mlm", "itm"]}, "pretraining: tasks has itm without itc, .*; add itc"),
        ({"tasks": ["mlm", "mlm"]}, r"pretraining: tasks names one twice \(mlm, mlm\); name each once"),
        ({"tasks": ["mlm"], "joint_masking": True}, "joint_masking is about mlm and mim .* tasks is mlm; name both"),
        ({"tasks": ["mlm"], "mask_tokens_in_encoder": True}, "mask_tokens_in_encoder is .* tasks is mlm; add mim"),
    ],
)
def test_settings_of_pre_training_that_contradict_each_other_are_refused(read, settings, message):
    with pytest.raises(UserError, match=message):
        read("pretraining", {**MINIMAL["pretraining"], **settings})


@pytest.mark.parametrize(
    ("name", "place"),
    [("pretraining_tasks", "pretraining.tasks"), ("visual_reasoning_head", "tasks.nlvr2.finetuning.head")],
)
def test_what_another_section_decides_is_no_override_of_the_model(read, name, place):
    with pytest.raises(UserError, match=f"model: overrides has {name}, which {place} decides; set it there"):
        read("model.overrides", {name: 1})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": "vocab.txt", "vocab_size": 500}, "tokenizer: vocab_size tells how to train one, but path names one"),
        ({"special_tokens": {"pad_token": "<pad>"}}, "tokenizer: special_tokens are those of an imported vocabulary"),
        (
            {"path": "v.txt", "special_tokens": {"eos_token": "x"}},
            r"tokenizer\.special_tokens\.eos_token.* input should",
        ),
    ],
)
def test_a_tokenizer_is_either_trained_or_imported(read, settings, message):
    with pytest.raises(UserError, match=message):
        read("tokenizer", settings)


def test_an_imported_tokenizer_survives_the_way_through_the_pipeline(read):
    tokenizer = read("tokenizer", {"path": "vocab.txt", "special_tokens": {"pad_token": "<pad>"}}).tokenizer
    assert type(tokenizer).model_validate(tokenizer.model_dump(mode="json")) == tokenizer


def test_answers_are_either_made_or_read(read):
    finetuning = {**MINIMAL["tasks"]["nlvr2"]["finetuning"], "answers": "answers.json"}
    task = {**MINIMAL["tasks"]["nlvr2"], "finetuning": finetuning}
    assert str(read("tasks.vqa", task).tasks["vqa"].finetuning.answers) == "answers.json"
    with pytest.raises(UserError, match=r"tasks\.nlvr2\.finetuning\.answers is for vqa alone; remove it"):
        read("tasks.nlvr2.finetuning", finetuning)
    with pytest.raises(UserError, match="min_answer_count makes a vocabulary, but answers names one; remove either"):
        read("tasks.nlvr2.finetuning", {**finetuning, "min_answer_count": 3})


def test_every_problem_is_named_at_once(tmp_path):
    tree = copy.deepcopy(MINIMAL)
    del tree["name"]
    tree["sed"] = 1
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(UserError, match=r"run\.yaml: ") as error:
        load_config(path)
    assert "key name is missing" in str(error.value)
    assert "unknown key sed" in str(error.value)


def test_what_is_scored_may_not_be_trained_on(read):
    with pytest.raises(
        UserError, match=r"tasks\.nlvr2\.data: nlvr2 split dev is both trained on and scored; set holdout"
    ):
        read("tasks.nlvr2.data.train", {"set": "nlvr2", "splits": ["train", "dev"]})


def test_holding_out_needs_one_split_on_both_sides(read):
    with pytest.raises(UserError, match="holdout divides one split"):
        read("tasks.nlvr2.data.holdout", 0.2)
    both = {"set": "nlvr2", "splits": ["dev"]}
    data = read("tasks.nlvr2.data", {"train": both, "evaluate": both, "holdout": 0.2}).tasks["nlvr2"].data
    assert data.holdout == 0.2


def test_variables_come_from_the_environment(read, monkeypatch):
    monkeypatch.setenv("EVE_TEST_FOLDER", "/somewhere")
    monkeypatch.delenv("EVE_TEST_ABSENT", raising=False)
    assert read("data.path", "${EVE_TEST_FOLDER}/set").data.path == "/somewhere/set"
    assert read("data.path", "${EVE_TEST_ABSENT:-here}/set").data.path == "here/set"
    assert read("data.path", "${EVE_TEST_ABSENT:-}").data.path == ""
    with pytest.raises(UserError, match=r"run\.yaml uses \$\{EVE_TEST_ABSENT\}, which is not set"):
        read("data.path", "${EVE_TEST_ABSENT}")


def test_the_synthetic_world_may_be_named_before_it_is_drawn(read, monkeypatch):
    monkeypatch.delenv("EVE_SYNTHETIC_WORLD", raising=False)
    assert read("data.path", "${EVE_SYNTHETIC_WORLD}/x").data.path == "${EVE_SYNTHETIC_WORLD}/x"


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "is not valid YAML"), ("- a\n- b\n", "must hold a mapping"), ("", "must hold a mapping")],
)
def test_what_is_no_mapping_is_refused(tmp_path, text, message):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        load_config(path)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"the config file .*absent\.yaml does not exist"):
        load_config(tmp_path / "absent.yaml")


def test_the_digest_follows_every_value_and_not_how_the_file_is_written(read):
    assert read().digest() == read("seed", 0).digest()
    assert read().digest() != read("seed", 1).digest()
    assert read().digest() != read("pretraining.optimization.workers", 1).digest()


def sections(annotation: Any) -> set[type[Section]]:
    """Every section within a type, whatever it is wrapped in."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        inner = [sections(field.annotation) for field in annotation.model_fields.values()]
        return {annotation}.union(*inner)
    return set().union(*(sections(part) for part in getattr(annotation, "__args__", ())))


@pytest.mark.parametrize(
    "section", sorted(sections(RunConfig) | sections(SourceConfig), key=lambda s: s.__name__), ids=lambda s: s.__name__
)
def test_every_section_and_field_says_what_it_does(section):
    assert section.__doc__
    # The discriminator of a source names the set that the section's own sentence describes.
    silent = [name for name, field in section.model_fields.items() if not field.description and name != "set"]
    assert silent == []


def test_a_head_of_another_task_is_refused(read):
    tasks = {"vqa": copy.deepcopy(MINIMAL["tasks"]["nlvr2"])}
    tasks["vqa"]["finetuning"]["head"] = "bi_attention"
    with pytest.raises(UserError, match=r"yaml: tasks\.vqa\.finetuning\.head is for nlvr2 alone; remove it"):
        read("tasks", tasks)


class TestBase:
    """A file over another one."""

    @pytest.fixture
    def read_over(self, tmp_path):
        (tmp_path / "below.yaml").write_text(yaml.safe_dump(MINIMAL))

        def read_over(above):
            (tmp_path / "above.yaml").write_text(yaml.safe_dump({"base": "below.yaml", **above}))
            return load_config(tmp_path / "above.yaml")

        return read_over

    def test_sections_are_merged_key_by_key(self, read_over):
        changed = read_over({"name": "other", "pretraining": {"optimization": {"learning_rate": 0.5}}})
        below = MINIMAL["pretraining"]["optimization"]
        assert changed.name == "other"
        assert changed.pretraining.optimization.learning_rate == 0.5
        assert changed.pretraining.optimization.batch_size == below["batch_size"]

    def test_lists_are_replaced_and_null_takes_away(self, read_over):
        data = [{"set": "flickr30k", "splits": ["train"]}]
        changed = read_over({"pretraining": {"data": data}, "registry": None})
        assert [split.set for split in changed.pretraining.data] == ["flickr30k"]
        with pytest.raises(UserError, match="key tasks is missing"):
            read_over({"tasks": None})

    def test_a_missing_base_and_a_circle_are_refused(self, read_over, tmp_path):
        with pytest.raises(UserError, match=r"the base of .*above.yaml .*absent.yaml does not exist"):
            read_over({"base": "absent.yaml"})
        (tmp_path / "below.yaml").write_text("base: above.yaml")
        with pytest.raises(UserError, match="is its own base"):
            read_over({})


def test_either_steps_or_epochs(read):
    with pytest.raises(UserError, match=r"pretraining.optimization: give either steps or epochs"):
        read("pretraining.optimization.epochs", 3)


@pytest.mark.parametrize(
    ("section", "fields", "problem"),
    [
        (DataConfig, {"repository": "https://oauth2:token@git.example/eve/data.git"}, "may hold no credentials"),
        (ScheduleConfig, {"cron": "0 3 * *"}, "is not minute, hour, day, month and weekday"),
        (ScheduleConfig, {"timezone": "Europe/Berln"}, "'Europe/Berln' is no time zone"),
    ],
)
def test_what_would_fail_or_leak_later_is_refused_at_once(section, fields, problem):
    with pytest.raises(ValidationError, match=problem) as refusal:
        section(**fields)
    assert "token" not in str(refusal.value).partition("[type=")[0]


def test_ssh_names_a_user_and_no_secret():
    assert DataConfig(repository="ssh://git@git.example/eve/data.git").repository.startswith("ssh://git@")
