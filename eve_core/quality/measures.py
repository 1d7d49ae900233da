"""What suites and statistics speak of: one small value a row for each property, computed by Arrow over whole columns.

Great Expectations gets these in place of texts and pictures: it compares numbers and truth values fast, and they take a
fraction of the memory. A measure is null where it does not apply; an expectation on a column passes over nulls.
"""

import re
import string
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Measures = dict[str, pa.ChunkedArray | pa.Array]

_TRAINING_SPLIT = "train"
# Splits whose answers and labels are public; in others they may be held back.
_LABELLED_SPLITS = (_TRAINING_SPLIT, "val", "dev")

_WORD = r"[^\s\p{Z}]+"
_NEITHER_LETTER_NOR_SPACE = r"[^\p{L}\p{M}\s\p{Z}]"
_NOT_ASCII = r"[^\x00-\x7F]"
# Tags by name, for Conceptual 12M writes <PERSON> in place of names.
_TAG = r"(?i)</?(?:a|b|i|u|p|br|hr|em|li|ul|ol|td|tr|th|div|img|span|font|table|strong|script|style|h[1-6])\b[^>]*>"
_ENTITY = r"(?i)&(?:[a-z]{2,8}|#[0-9]{1,5});"
_URL = r"(?i)\bhttps?://|\bwww\.\w"
# Arrow's regular expressions know no back-references, so every character that can be seen is named.
_ONE_CHARACTER_EIGHT_TIMES = "|".join(re.escape(character) + "{8}" for character in string.printable.strip())
_SHOUTED_WORDS = 3


def of_text(text: pa.ChunkedArray) -> Measures:
    """Length and language of texts.

    words, characters: how many there are; white space of any script lies between words.
    letter_share: share of the characters that are letters or white space.
    ascii_share: share of the characters that are ASCII.
    has_tag, has_entity: an HTML tag, an HTML entity (&amp;).
    has_url: a web address.
    repeats: one character eight times in a row.
    shouted: three words or more, all in capitals.
    """
    words, characters = pc.count_substring_regex(text, _WORD), pc.utf8_length(text)
    return {
        "words": words,
        "characters": characters,
        "letter_share": _share_without(text, _NEITHER_LETTER_NOR_SPACE, characters),
        "ascii_share": _share_without(text, _NOT_ASCII, characters),
        "has_tag": pc.match_substring_regex(text, _TAG),
        "has_entity": pc.match_substring_regex(text, _ENTITY),
        "has_url": pc.match_substring_regex(text, _URL),
        "repeats": pc.match_substring_regex(text, _ONE_CHARACTER_EIGHT_TIMES),
        "shouted": pc.and_(pc.utf8_is_upper(text), pc.greater_equal(words, _SHOUTED_WORDS)),
    }


def of_answers(questions: pa.Table) -> Measures:
    """Answers to questions.

    answer_count: null where there is none and the split may hold them back.
    blank_answers: how many of them are empty or white space.
    """
    answers = questions["answers"].combine_chunks()
    count = pc.list_value_length(answers)
    held_back = pc.and_(pc.equal(count, 0), pc.invert(_is_labelled_split(questions)))
    # Ten million answers are a few thousand different ones: those are looked at.
    encoded = pc.dictionary_encode(pc.fill_null(pc.list_flatten(answers), ""))
    blank = ~pc.match_substring_regex(encoded.dictionary, _WORD).to_numpy(zero_copy_only=False)
    blanks_before = np.concatenate([[0], np.cumsum(blank[encoded.indices.to_numpy()])])
    ends = np.cumsum(count.to_numpy())
    return {
        "answer_count": pc.if_else(held_back, pa.scalar(None, count.type), count),
        "blank_answers": pa.array(blanks_before[ends] - blanks_before[ends - count.to_numpy()]),
    }


def of_label(statements: pa.Table) -> Measures:
    """label_known: whether a statement has a label; null where it has none and the split may hold it back."""
    known = statements["label"].is_valid()
    judged = pc.or_(known, _is_labelled_split(statements))
    return {"label_known": pc.if_else(judged, known, pa.scalar(None, pa.bool_()))}


def of_size(pictures: pa.Table) -> Measures:
    """short_side in pixels; aspect_ratio, the longer side divided by the shorter."""
    width, height = pictures["width"], pictures["height"]
    short, long = pc.min_element_wise(width, height), pc.max_element_wise(width, height)
    return {
        "short_side": short,
        "aspect_ratio": pc.divide(pc.cast(long, pa.float32()), pc.cast(pc.max_element_wise(short, 1), pa.float32())),
    }


def is_repeated(values: pa.ChunkedArray) -> pa.Array:
    """Whether another row has the same value."""
    return pa.array(_occurrences(values) > 1)


@dataclass(frozen=True)
class StoredPictures:
    """All pictures of the data set, to relate annotations to.

    Args:
        info: image_id and sha256 of every picture.
    """

    ids: pa.Array
    """Their ids."""
    contents: np.ndarray
    """A number for each, equal for equal bytes, (pictures,)."""

    @classmethod
    def of(cls, info: pa.Table) -> "StoredPictures":
        """Those of the table images."""
        return cls(info["image_id"].combine_chunks(), _codes(info["sha256"]))


def of_pictures(annotations: pa.Table, stored: StoredPictures) -> Measures:
    """What relates annotations to the stored pictures.

    image_known (left_image_known, right_image_known): its picture is stored.
    picture_trained_on: the row is one of an evaluation split, and a training row of the set has the same picture.
    copy_trained_on: likewise, but the training row's picture has another id and the same bytes.
    rows_of_picture: how many rows of the set have its picture; not for rows of two pictures.
    """
    columns = [name for name in annotations.column_names if name.endswith("image_id")]
    # The place after the last picture stands for all that are not stored.
    places = [pc.fill_null(pc.index_in(annotations[name], stored.ids), len(stored.ids)).to_numpy() for name in columns]
    contents = np.append(stored.contents, len(stored.ids))
    training = pc.equal(annotations["split"], _TRAINING_SPLIT).to_numpy()
    trained_on, trained_contents = np.zeros((2, len(stored.ids) + 1), dtype=bool)
    for place in places:
        trained_on[place[training]] = True
    trained_on[-1] = False
    trained_contents[contents[trained_on]] = True
    same_picture = ~training & np.logical_or.reduce([trained_on[place] for place in places])
    same_content = ~training & np.logical_or.reduce([trained_contents[contents[place]] for place in places])
    measures: Measures = {
        name.removesuffix("_id") + "_known": pa.array(place < len(stored.ids))
        for name, place in zip(columns, places, strict=True)
    }
    measures |= {
        "picture_trained_on": pa.array(same_picture),
        "copy_trained_on": pa.array(same_content & ~same_picture),
    }
    if len(columns) == 1:
        measures["rows_of_picture"] = pa.array(_occurrences(annotations[columns[0]]))
    return measures


def _share_without(text: pa.ChunkedArray, pattern: str, characters: pa.ChunkedArray) -> pa.ChunkedArray:
    """Share of the characters that `pattern`, one character wide, does not match; not a number for an empty text."""
    matched = pc.cast(pc.count_substring_regex(text, pattern), pa.float32())
    return pc.subtract(pa.scalar(1, pa.float32()), pc.divide(matched, pc.cast(characters, pa.float32())))


def _is_labelled_split(rows: pa.Table) -> pa.Array:
    return pc.is_in(rows["split"], value_set=pa.array(_LABELLED_SPLITS)).combine_chunks()


def _occurrences(values: pa.ChunkedArray) -> np.ndarray:
    """How many rows have the value of each row, (rows,)."""
    codes = _codes(values)
    occurrences: np.ndarray = np.bincount(codes)[codes]
    return occurrences


def _codes(values: pa.ChunkedArray) -> np.ndarray:
    """A number for each value, equal for equal values, (rows,)."""
    codes: np.ndarray = pc.dictionary_encode(values).combine_chunks().indices.to_numpy()
    return codes
