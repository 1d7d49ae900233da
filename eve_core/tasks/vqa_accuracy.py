"""VQA accuracy: an answer counts as far as other people gave it too."""

import re

_ARTICLES = {"a", "an", "the"}
_NUMBERS = {
    word: str(value) for value, word in enumerate("zero one two three four five six seven eight nine ten".split())
} | {"none": "0"}
_PUNCTUATION = re.compile(r"[;/\[\]\"{}()=+\\_\-><@`,?!]")
_PERIOD = re.compile(r"(?<!\d)\.(?!\d)")
_DIGIT_COMMA = re.compile(r"(\d),(\d)")


def vqa_accuracy(prediction: str, answers: list[str]) -> float:
    """Accuracy of one prediction: over the leave-one-out subsets of the annotators, the mean of min(1, matches / 3).

    Texts are normalised when the annotators differ, as the official evaluation does.

    Args:
        prediction: the answer given.
        answers: what the annotators answered (ten of them in VQA v2).

    Returns:
        A number between 0 and 1.
    """
    prediction, answers = prediction.strip(), [answer.strip() for answer in answers]
    if len(set(answers)) > 1:
        prediction, answers = normalize_answer(prediction), [normalize_answer(answer) for answer in answers]
    matches = sum(answer == prediction for answer in answers)
    left_out_match = min(1.0, (matches - 1) / 3)
    left_out_other = min(1.0, matches / 3)
    return (matches * left_out_match + (len(answers) - matches) * left_out_other) / len(answers) if matches else 0.0


def normalize_answer(answer: str) -> str:
    """Lower case, digits for number words, no articles and no punctuation."""
    answer = answer.replace("\n", " ").replace("\t", " ").strip()
    answer = _PERIOD.sub("", _PUNCTUATION.sub(" ", _DIGIT_COMMA.sub(r"\1\2", answer.lower())))
    words = [_NUMBERS.get(word, word) for word in answer.split()]
    return " ".join(word for word in words if word not in _ARTICLES)
