"""The answer vocabulary: made by its rule, read from any of the field's forms, and looked up."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from eve_core.errors import UserError
from eve_core.tasks.answers import (
    answer_numbers,
    answer_vocabulary,
    number_of,
    read_annotations,
    read_answers,
    write_answers,
)


def rows(*answers: str | None) -> pa.Table:
    return pa.table({"answer": pa.array(answers, pa.string())})


def test_an_answer_enters_when_it_is_the_most_common_one_often_enough():
    table = rows("red", "red", "red", "blue", "blue", "grey", None)
    assert answer_vocabulary(table, 2) == ["blue", "red"]
    assert answer_vocabulary(table, 1) == ["blue", "grey", "red"]
    with pytest.raises(UserError, match=r"no answer is given 4 times among 7 .*finetuning\.min_answer_count"):
        answer_vocabulary(table, 4)


def test_the_same_answer_written_in_several_ways_is_counted_once():
    table = rows("Two", "2", "the dog", "dog!", "dont", "don't", "one way", "1 way", "1/4", "none", "0")
    assert answer_vocabulary(table, 2) == ["0", "1 way", "2", "dog", "don't"]


def test_the_order_of_the_questions_does_not_matter():
    answers = ["b", "10", "9", "\u00e9", "Z", "b c"]
    assert answer_vocabulary(rows(*answers), 1) == answer_vocabulary(rows(*reversed(answers)), 1)
    assert answer_vocabulary(rows(*answers), 1) == ["10", "9", "b", "b c", "z", "\u00e9"]


def test_what_has_no_normal_form_is_no_answer():
    assert answer_vocabulary(rows("a", "the", "?", "yes"), 1) == ["yes"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("label2ans.json", b'["yes", "no", "", "1 way"]'),
        ("ans2label.json", b'{"1 way": 3, "yes": 0, "": 2, "no": 1}'),
        ("with_mark.json", b'\xef\xbb\xbf["yes", "no", "", "1 way"]'),
    ],
)
def test_every_form_is_read_in_the_order_of_its_numbers(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert read_answers(tmp_path / name) == ["yes", "no", "", "1 way"]


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_text_file_has_an_answer_a_line(tmp_path, ends):
    (tmp_path / "answers.txt").write_bytes(ends.join(["yes", "no", "r\u00e9sum\u00e9", ""]).encode())
    assert read_answers(tmp_path / "answers.txt") == ["yes", "no", "r\u00e9sum\u00e9"]


def test_what_is_written_is_read_again(tmp_path):
    answers = ["yes", '"quoted"', "caf\u00e9"]
    write_answers(answers, tmp_path / "answers.json")
    assert read_answers(tmp_path / "answers.json") == answers
    assert [path.name for path in tmp_path.iterdir()] == ["answers.json"]
    with pytest.raises(UserError, match=r"answers\.pkl does not end in \.json"):
        write_answers(answers, tmp_path / "answers.pkl")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"[]", "is empty"),
        ("a.json", b"{}", "is empty"),
        ("a.txt", b"", "is empty"),
        ("a.txt", b"yes\n\nno\n", "has an empty line"),
        ("a.json", b'["yes", "no", "yes", "no"]', r"2 answers more than once \('yes', 'no'\)"),
        ("a.json", b'["yes", 2]', "something else than texts"),
        ("a.json", b'"yes"', "something else than texts"),
        ("a.json", b'{"yes": 0, "no": 2}', "numbers .* are not 0, 1, 2"),
        ("a.json", b'{"yes": 0, "no": 0}', "numbers .* are not 0, 1, 2"),
        ("a.json", b'{"yes": "0", "no": 1}', "numbers .* are not 0, 1, 2"),
        ("a.json", b"[", "not valid JSON"),
        ("a.txt", b"\xff", "UTF-8"),
    ],
)
def test_what_is_no_vocabulary_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"the answer vocabulary .*{message}|{message}") as error:
        read_answers(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"the answer vocabulary .*a\.json does not exist"):
        read_answers(tmp_path / "a.json")


def test_an_answer_is_looked_up_as_it_stands_and_then_in_its_normal_form():
    numbers = answer_numbers(["none", "0", "1 way", "t-shirt", "the who"])
    assert number_of("none", numbers) == 0
    assert number_of("zero", numbers) == 1
    assert number_of("One way", numbers) == number_of("1 way", numbers) == 2
    assert number_of("t shirt", numbers) == number_of("t-shirt", numbers) == 3
    assert number_of("who", numbers) == 4
    assert number_of("the", numbers) is None
    assert number_of("dog", numbers) is None


def test_only_a_vocabulary_with_the_empty_answer_knows_it():
    assert number_of("the", answer_numbers(["a", "yes"])) is None
    assert number_of("the", answer_numbers(["yes", ""])) == 1


def annotation(**changes: Any) -> dict[str, Any]:
    answers = [{"answer": "yes", "answer_id": number, "answer_confidence": "yes"} for number in range(1, 11)]
    return {"question_id": 1, "multiple_choice_answer": "yes", "answers": answers, **changes}


def test_annotations_are_read_in_their_official_form(tmp_path):
    path = tmp_path / "v2_mscoco_val2014_annotations.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"annotations": [annotation()]}).encode()))
    assert read_annotations(path).to_pylist() == [{"answer": "yes", "answers": ["yes"] * 10}]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"answers": None}, r"annotations\[1\]: answers must be a list"),
        ({"multiple_choice_answer": 3}, r"annotations\[1\]: multiple_choice_answer must be a string"),
    ],
)
def test_a_broken_annotation_is_named(tmp_path, broken, message):
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps({"annotations": [annotation(), annotation(**broken)]}))
    with pytest.raises(UserError, match=message):
        read_annotations(path)


@pytest.mark.real_data
def test_the_fields_two_files_are_one_vocabulary(real_data):
    lists = [read_answers(real_data / "vqa2" / f"trainval_{name}.json") for name in ("label2ans", "ans2label")]
    assert lists[0] == lists[1]
    assert len(lists[0]) == 3129


@pytest.mark.real_data
def test_the_rule_gives_answers_of_the_fields_vocabulary(real_data: Path):
    """What is frequent enough in a part of the questions is so in all of them."""
    folder = real_data / "vqa2" / "text_only_60k"
    tables = [read_annotations(folder / f"annotations_{split}.json.gz") for split in ("train", "valid")]
    made = answer_vocabulary(pa.concat_tables(tables), 9)
    field = {*read_answers(real_data / "vqa2" / "trainval_label2ans.json")}
    assert sum(table.num_rows for table in tables) == 57038
    assert len(made) == 411
    assert {*made} <= field
