"""A blessing is read back as it was written, or not at all."""

import json
from dataclasses import replace

import pytest

from eve_core.errors import UserError
from eve_core.evaluation.blessing import Blessing, Check, Part, read_blessing, write_blessing

BLESSING = Blessing(
    task="nlvr2",
    trained_on=("coco_captions train", "nlvr2 train"),
    scored_on=("nlvr2 dev",),
    blessed=False,
    reasons=("accuracy is nan, no finite number",),
    checks=(
        Check("items", 300, 200, True, "enough"),
        Check("floor accuracy", None, 0.5, False, "accuracy is nan, no finite number"),
    ),
    items=300,
    test_digest="t",
    data_digest="d",
    data_revision="r",
    code_revision="c",
    model_digest="m",
    main_metric="accuracy",
    metrics={"accuracy": None, "consistency": 0.25},
    parts=(
        Part("all", 300, (0.5, 0.4, 0.6), None, None),
        Part("words below 8", 90, (0.5, 0.3, 0.7), (0.4, 0.2, 0.6), (0.1, -0.1, 0.3)),
    ),
    served={"latency_ms": 20.0, "memory_mb": None},
    requests_digest="q",
    champion_version=None,
    champion_digest=None,
    champion_metrics=None,
)


def test_a_blessing_survives_the_file(tmp_path):
    path = tmp_path / "new" / "blessing.json"
    write_blessing(BLESSING, path)
    assert read_blessing(path) == BLESSING
    assert read_blessing(path).digest == BLESSING.digest == json.loads(path.read_text())["digest"]
    assert [file.name for file in path.parent.iterdir()] == ["blessing.json"]


def test_the_digest_tells_every_field_apart():
    changed = [
        replace(BLESSING, blessed=True),
        replace(BLESSING, items=301),
        replace(BLESSING, model_digest="n"),
        replace(BLESSING, test_digest="u"),
        replace(BLESSING, champion_version="1"),
        replace(BLESSING, metrics={"accuracy": 0.9}),
        replace(BLESSING, checks=BLESSING.checks[:1]),
        replace(BLESSING, parts=BLESSING.parts[:1]),
        replace(BLESSING, trained_on=()),
    ]
    assert len({blessing.digest for blessing in [BLESSING, *changed]}) == len(changed) + 1


@pytest.mark.parametrize("key", sorted(BLESSING.to_json()))
def test_a_key_changed_or_removed_by_hand_is_noticed(tmp_path, key):
    path = tmp_path / "blessing.json"
    for edited in ({**BLESSING.to_json(), key: "edited"}, {k: v for k, v in BLESSING.to_json().items() if k != key}):
        path.write_text(json.dumps(edited))
        with pytest.raises(UserError):
            read_blessing(path)


def test_a_refusal_turned_into_a_blessing_is_noticed_even_with_a_new_digest(tmp_path):
    path = tmp_path / "blessing.json"
    path.write_text(json.dumps(replace(BLESSING, blessed=True, reasons=()).to_json()))
    with pytest.raises(UserError, match="contradicts its own checks"):
        read_blessing(path)


def test_a_verdict_without_checks_is_no_blessing(tmp_path):
    write_blessing(replace(BLESSING, blessed=True, reasons=(), checks=()), tmp_path / "blessing.json")
    with pytest.raises(UserError, match="contradicts its own checks"):
        read_blessing(tmp_path / "blessing.json")


def test_another_file_is_no_blessing(tmp_path):
    path = tmp_path / "blessing.json"
    for text, message in (("{", "not valid JSON"), ("[]", "no blessing of format 2"), ('{"format": 1}', "format 2")):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            read_blessing(path)
    with pytest.raises(UserError, match="does not exist"):
        read_blessing(tmp_path / "other.json")
