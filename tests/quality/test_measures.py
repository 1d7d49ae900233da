import pyarrow as pa
import pytest

from eve_core.quality.measures import of_answers, of_text

GOOD = [
    "A man riding a wave on top of a surfboard.",
    "Two dogs - one brown, one white - play in the snow; it is 10:30 p.m.",
    "a t-shirt that reads #1 dad!!!",
    "<PERSON> at the opening of the café",
    "R&B singer performs on stage",
    "Is this a B&W photo?",
    "there are 2 < 3 birds > 1 tree",
    "STOP sign",
    "an email from bob",
    "mmmm pizza...",
]


def measured(texts: list[str]) -> dict[str, list[object]]:
    return {name: column.to_pylist() for name, column in of_text(pa.chunked_array([texts])).items()}


@pytest.mark.parametrize("text", GOOD)
def test_a_good_caption_has_no_oddity(text: str) -> None:
    found = measured([text])
    assert not any(found[name][0] for name in ("has_tag", "has_entity", "has_url", "repeats", "shouted"))
    assert found["letter_share"][0] > 0.75
    assert found["ascii_share"][0] > 0.9


@pytest.mark.parametrize(
    ("text", "oddity"),
    [
        ("click <a href='x'>here</a>", "has_tag"),
        ("salt &amp; pepper", "has_entity"),
        ("it&#39;s a dog", "has_entity"),
        ("line<BR/>break", "has_tag"),
        ("see https://example.org/a.jpg", "has_url"),
        ("from WWW.example.org", "has_url"),
        ("a ruler ----------", "repeats"),
        ("yeeeeeeeeees", "repeats"),
        ("(((((((( brackets", "repeats"),
        ("BUY ONE NOW", "shouted"),
    ],
)
def test_an_odd_caption_has_its_oddity(text: str, oddity: str) -> None:
    found = measured([text])
    assert [name for name in ("has_tag", "has_entity", "has_url", "repeats", "shouted") if found[name][0]] == [oddity]


def test_words_and_shares_are_those_of_the_text() -> None:
    found = measured(["two words", " \u00a0 ", "", "дом 12", "e\u0301t\u00e9\u2003là"])
    assert found["words"] == [2, 0, 0, 2, 2]
    assert found["characters"] == [9, 3, 0, 6, 7]
    assert found["letter_share"][3] == pytest.approx(4 / 6)
    assert found["ascii_share"][3] == pytest.approx(3 / 6)
    assert found["letter_share"][4] == 1


def test_answers_are_counted_row_by_row_across_chunks() -> None:
    rows = pa.table(
        {
            "answers": pa.chunked_array([[["a", " "], []], [["", "\u00a0", None], ["b"], []]], pa.list_(pa.string())),
            "split": ["train", "test", "val", "test", "val"],
        }
    )
    found = of_answers(rows)
    assert found["answer_count"].to_pylist() == [2, None, 3, 1, 0]
    assert found["blank_answers"].to_pylist() == [1, 0, 3, 0, 0]
