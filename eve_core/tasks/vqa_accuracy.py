"""VQA accuracy: an answer counts as far as other people gave it too.

The definition is that of the official evaluation of VQA v2, its treatment of punctuation included, to the last digit.
"""

import re
from functools import lru_cache

_ARTICLES = {"a", "an", "the"}
_NUMBERS = {
    word: str(value)
    for value, word in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    )
} | {"none": "0"}
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_PERIOD = re.compile(r"\.(?!\d)")
_MOST_PERIODS = int(re.UNICODE)
_DIGIT_COMMA = re.compile(r"\d,\d")
# Annotators leave apostrophes out. A form that is also another word (were, well, ill, its) is not among these.
_CONTRACTIONS = [
    "ain't",
    "aren't",
    "can't",
    "could've",
    "couldn't",
    "couldn't've",
    "didn't",
    "doesn't",
    "don't",
    "hadn't",
    "hadn't've",
    "hasn't",
    "haven't",
    "he'd",
    "he'd've",
    "he's",
    "how'd",
    "how'll",
    "how's",
    "isn't",
    "it'd",
    "it'd've",
    "it'll",
    "ma'am",
    "might've",
    "mightn't",
    "mightn't've",
    "must've",
    "mustn't",
    "needn't",
    "not've",
    "o'clock",
    "oughtn't",
    "'ow's'at",
    "shan't",
    "she'd've",
    "should've",
    "shouldn't",
    "shouldn't've",
    "somebody'd",
    "somebody'd've",
    "somebody'll",
    "somebody's",
    "someone'd",
    "someone'd've",
    "someone'll",
    "someone's",
    "something'd",
    "something'd've",
    "something'll",
    "that's",
    "there'd",
    "there'd've",
    "there're",
    "there's",
    "they'd",
    "they'd've",
    "they'll",
    "they're",
    "they've",
    "'twas",
    "wasn't",
    "we'd've",
    "we've",
    "weren't",
    "what'll",
    "what're",
    "what's",
    "what've",
    "when's",
    "where'd",
    "where's",
    "where've",
    "who'd",
    "who'd've",
    "who'll",
    "who's",
    "who've",
    "why'll",
    "why're",
    "why's",
    "won't",
    "would've",
    "wouldn't",
    "wouldn't've",
    "y'all",
    "y'all'd've",
    "y'all'll",
    "you'd",
    "you'd've",
    "you'll",
    "you're",
    "you've",
]


def vqa_accuracy(prediction: str, answers: list[str]) -> float:
    """Accuracy of one prediction: over the leave-one-out subsets of the annotators, the mean of min(1, matches / 3).

    Texts are normalised when the annotators differ, as the official evaluation does.

    Args:
        prediction: the answer given.
        answers: what the annotators answered (ten of them in VQA v2).

    Returns:
        A number between 0 and 1.
    """
    prediction, answers = _one_line(prediction), [_one_line(answer) for answer in answers]
    if len(set(answers)) > 1:
        prediction, answers = normalize_answer(prediction), [normalize_answer(answer) for answer in answers]
    matches = sum(answer == prediction for answer in answers)
    left_out_match = min(1.0, (matches - 1) / 3)
    left_out_other = min(1.0, matches / 3)
    return (matches * left_out_match + (len(answers) - matches) * left_out_other) / len(answers) if matches else 0.0


@lru_cache(maxsize=2**16)  # a few answers are given over and over
def normalize_answer(answer: str) -> str:
    """Lower case, no punctuation, digits for number words, no articles, contractions with their apostrophes."""
    words = [_NUMBERS.get(word, word) for word in _without_punctuation(_one_line(answer)).lower().split()]
    return " ".join(_APOSTROPHES.get(word, word) for word in words if word not in _ARTICLES)


def _one_line(answer: str) -> str:
    return answer.replace("\n", " ").replace("\t", " ").strip()


def _without_punctuation(answer: str) -> str:
    """A mark that touches a space anywhere in the answer is deleted, any other becomes a space.

    A comma between digits has every mark deleted. Periods go too, except before a digit; the first 32 of them, because
    the official program gives a flag of its search where the number goes.
    """
    has_digit_comma = _DIGIT_COMMA.search(answer) is not None
    plain = answer
    for mark in _PUNCTUATION:
        touches_space = f"{mark} " in answer or f" {mark}" in answer
        plain = plain.replace(mark, "" if touches_space or has_digit_comma else " ")
    return _PERIOD.sub("", plain, count=_MOST_PERIODS)


def _with_one_apostrophe_missing(word: str) -> list[str]:
    places = [place for place, letter in enumerate(word) if letter == "'"]
    return [word[:place] + word[place + 1 :] for place in places]


_APOSTROPHES = {short: word for word in _CONTRACTIONS for short in _with_one_apostrophe_missing(word)}
