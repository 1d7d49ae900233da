"""Result files are scored as the official programs score them, and only whole ones."""

import gzip
import json
from pathlib import Path

import pytest

from eve_core.errors import UserError
from eve_core.evaluation.result_files import score_file, write_nlvr2_results, write_vqa_results

FIXTURES = Path(__file__).parents[1] / "fixtures" / "golden"


@pytest.fixture
def vqa(tmp_path):
    """Annotations of two questions, ten answers each."""
    annotations = [
        {
            "question_id": number,
            "answer_type": kind,
            "question_type": "what",
            "multiple_choice_answer": answer,
            "answers": [{"answer": answer} for _ in range(10)],
        }
        for number, kind, answer in ((1, "other", "cat"), (2, "number", "2"))
    ]
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps({"annotations": annotations}))
    return path


def answers(tmp_path, content, name="results.json"):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ("the file", (70.1805, 67.9572, 74.1011, 68.5561)),
        ("first annotator", (87.2229, 96.9969, 87.3033, 77.8001)),
        ("always yes", (20.8477, 62.1921, 0.2035, 1.0610)),
    ],
)
def test_vqa_is_scored_as_by_the_official_program(real_data, tmp_path, which, expected):
    annotations = real_data / "vqa2" / "text_only_60k" / "annotations_valid.json.gz"
    predictions = FIXTURES / "vqa_valid_results.json.gz"
    if which != "the file":
        with gzip.open(annotations) as file:
            questions = json.load(file)["annotations"]
        given = [
            {"question_id": q["question_id"], "answer": q["answers"][0]["answer"] if which[0] == "f" else "yes"}
            for q in questions
        ]
        predictions = answers(tmp_path, given)
    found = score_file("vqa", predictions, annotations)
    kinds = ("overall", "answer_type/yes/no", "answer_type/number", "answer_type/other")
    assert tuple(round(found[kind], 4) for kind in kinds) == expected
    assert any(name.startswith("question_type/") for name in found)


def test_nlvr2_is_scored_as_by_the_official_program(real_data, tmp_path):
    annotations = real_data / "nlvr2" / "dev.json"
    ids = [json.loads(line)["identifier"] for line in annotations.read_text().splitlines()]
    for content in (
        "".join(f"{name},True\n" for name in ids),
        "identifier,prediction\n" + "".join(f"{name},true\n" for name in ids),
        json.dumps(dict.fromkeys(ids, True)),
        "".join(json.dumps({"identifier": name, "prediction": "True"}) + "\n" for name in ids),
    ):
        found = score_file("nlvr2", answers(tmp_path, content), annotations)
        assert round(found["accuracy"], 7) == 0.5085935
        assert round(found["consistency"], 7) == 0.0386521


def test_retrieval_ranks_what_a_file_lists(tmp_path):
    images = [
        {"imgid": image, "split": "test", "sentences": [{"sentid": 10 * image + n} for n in range(2)]}
        for image in range(3)
    ]
    images.append({"imgid": 9, "split": "train", "sentences": [{"sentid": 99}]})
    karpathy = answers(tmp_path, {"images": images}, "dataset.json")
    text = {"0": [0, 10], "1": [20, 0, 11], "2": [10, 11, 0, 1]}
    image = {"0": [0], "1": [1, 0], "10": [1], "11": [1], "20": [2], "21": [0, 1]}
    found = score_file("retrieval", answers(tmp_path, {"text": text, "image": image}), karpathy)
    assert found["text_recall_at_1"] == pytest.approx(100 / 3)
    assert found["text_recall_at_5"] == pytest.approx(200 / 3)
    assert found["image_recall_at_1"] == pytest.approx(400 / 6)
    assert found["image_recall_at_10"] == pytest.approx(500 / 6)
    with pytest.raises(UserError, match=r"of 3 predictions, 1 missing \(2\)"):
        score_file("retrieval", answers(tmp_path, {"text": {k: text[k] for k in "01"}, "image": image}), karpathy)
    with pytest.raises(UserError, match="no captions of split val"):
        score_file("retrieval", karpathy, karpathy, split="val")
    with pytest.raises(UserError, match='must have "text"'):
        score_file("retrieval", answers(tmp_path, {"image": image}), karpathy)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([(1, "cat")], r"of 2 predictions, 1 missing \(2\)"),
        ([(1, "cat"), (2, "2"), (2, "3")], r"1 more than once \(2\)"),
        ([(1, "cat"), (2, "2"), (7, "3")], r"1 for ids that are not asked for \(7\)"),
        ([(1, "cat"), (2, None)], "answer must be a string"),
    ],
)
def test_a_file_that_is_not_whole_is_refused(vqa, tmp_path, given, message):
    content = [{"question_id": number, "answer": answer} for number, answer in given]
    with pytest.raises(UserError, match=message):
        score_file("vqa", answers(tmp_path, content), vqa)


def test_an_empty_test_set_gives_no_score(vqa, tmp_path):
    nothing = answers(tmp_path, [])
    with pytest.raises(UserError, match="annotations is empty"):
        score_file("vqa", nothing, answers(tmp_path, {"annotations": []}, "none.json"))
    empty = answers(tmp_path, "", "none.txt")
    with pytest.raises(UserError, match="empty"):
        score_file("nlvr2", empty, empty)
    karpathy = answers(tmp_path, {"images": [{"imgid": 0, "split": "test", "sentences": []}]}, "dataset.json")
    with pytest.raises(UserError, match="no captions of split test"):
        score_file("retrieval", answers(tmp_path, {"text": {"0": []}, "image": {}}), karpathy)
    content = json.loads(vqa.read_text())
    content["annotations"][0]["answers"] = []
    with pytest.raises(UserError, match=r"annotations\[0\].* has no answers"):
        score_file("vqa", answers(tmp_path, []), answers(tmp_path, content, "unanswered.json"))


def test_a_test_set_with_an_id_twice_is_refused(vqa, tmp_path):
    content = json.loads(vqa.read_text())
    content["annotations"].append(content["annotations"][0])
    with pytest.raises(UserError, match="the identifier 1 occurs twice"):
        score_file("vqa", answers(tmp_path, []), answers(tmp_path, content, "doubled.json"))
    lines = answers(tmp_path, '{"identifier": "dev-1-0-0", "label": "True"}\n' * 2, "dev.json")
    with pytest.raises(UserError, match="the identifier dev-1-0-0 occurs twice"):
        score_file("nlvr2", answers(tmp_path, "dev-1-0-0,True\n"), lines)
    images = [{"imgid": image, "split": "test", "sentences": [{"sentid": 5}]} for image in range(2)]
    with pytest.raises(UserError, match="the identifier 5 occurs twice"):
        score_file("retrieval", answers(tmp_path, {}), answers(tmp_path, {"images": images}, "dataset.json"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"0": [9]}', '"text": the ranking for 0 lists 9, which is none of the test set'),
        ('{"0": [1.0]}', r"lists 1\.0, which is none"),
        ('{"0": [1, 1]}', "the ranking for 0 lists an id twice"),
        ('{"0": [1], "0": [2]}', "has the key 0 twice"),
    ],
)
def test_a_ranking_lists_what_there_is_once(tmp_path, text, message):
    images = [{"imgid": 0, "split": "test", "sentences": [{"sentid": 1}, {"sentid": 2}]}]
    given = answers(tmp_path, f'{{"text": {text}, "image": {{"1": [0], "2": [0]}}}}')
    with pytest.raises(UserError, match=message):
        score_file("retrieval", given, answers(tmp_path, {"images": images}, "dataset.json"))


def test_judgements_may_be_an_object_over_several_lines_that_has_no_key_twice(tmp_path):
    lines = "".join(f'{{"identifier": "dev-{n}-0-0", "label": "True"}}\n' for n in range(3))
    statements = answers(tmp_path, lines, "dev.json")
    given = {f"dev-{n}-0-0": n > 0 for n in range(3)}
    assert score_file("nlvr2", answers(tmp_path, json.dumps(given, indent=1)), statements)["accuracy"] == 2 / 3
    for content, message in (
        ('{"dev-0-0-0": true, "dev-0-0-0": false}', "has the key dev-0-0-0 twice"),
        ('{"dev-0-0-0": true,\n', "not valid JSON"),
        ('dev-0-0-0,"' + "x" * 200_000, "does not have lines of"),
    ):
        with pytest.raises(UserError, match=message):
            score_file("nlvr2", answers(tmp_path, content), statements)


def test_a_file_of_another_form_is_refused(vqa, tmp_path):
    for content in ("{", '{"answers": []}', "[1, 2"):
        with pytest.raises(UserError, match=r"results\.json"):
            score_file("vqa", answers(tmp_path, content), vqa)
    with pytest.raises(UserError, match="does not exist"):
        score_file("vqa", tmp_path / "none.json", vqa)


@pytest.mark.parametrize("content", ["dev-1-0-0,perhaps\n", "dev-1-0-0\n", '{"dev-1-0-0": "perhaps"}'])
def test_a_judgement_is_true_or_false(tmp_path, content):
    statements = answers(tmp_path, '{"identifier": "dev-1-0-0", "label": "True"}\n', "dev.json")
    with pytest.raises(UserError, match=r"results\.(json|csv).*(True or False|identifier,True)"):
        score_file("nlvr2", answers(tmp_path, content), statements)


def test_what_is_written_for_a_server_is_complete(vqa, tmp_path):
    path = tmp_path / "vqa_OpenEnded_mscoco_val2014_eve_results.json"
    write_vqa_results({1: "cat", 2: "2"}, [1, 2], path)
    assert score_file("vqa", path, vqa)["overall"] == 100
    with pytest.raises(UserError, match=r"1 missing \(2\)"):
        write_vqa_results({1: "cat"}, [1, 2], tmp_path / "other.json")
    with pytest.raises(UserError, match="1 answers are empty"):
        write_vqa_results({1: "cat", 2: " "}, [1, 2], tmp_path / "other.json")
    with pytest.raises(UserError, match=r"1 missing \(b\)"):
        write_nlvr2_results({"a": True}, ["a", "b"], tmp_path / "other.csv")
    assert not (tmp_path / "other.json").exists()
    write_nlvr2_results({"a-0-0": True, "a-0-1": False}, ["a-0-1", "a-0-0"], tmp_path / "test.csv")
    assert (tmp_path / "test.csv").read_text() == "a-0-0,True\na-0-1,False\n"
