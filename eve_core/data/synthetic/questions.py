"""Questions about a scene with the answers of ten people, so spread that the question alone tells little."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from eve_core.data.synthetic.scene import COLORS, PLACES, SHAPES, Scene, pick

_ANSWERS = {
    "what color is the": tuple(COLORS),
    "what shape is": SHAPES,
    "how many": ("1", "2", "3"),
    "where is the": tuple(PLACES),
    "is there a": ("yes", "no"),
}
"""Possible answers by question type."""
_ANSWER_TYPES = {"how many": "number", "is there a": "yes/no"}
_PEOPLE = 10
_DISPUTED = 0.1


@dataclass(frozen=True)
class Question:
    """A question and what people answered."""

    text: str
    question_type: str
    answer: str
    """What most of them say, which is the truth."""
    answers: tuple[str, ...]
    """What each of the ten says."""

    @property
    def answer_type(self) -> str:
        """yes/no, number or other."""
        return _ANSWER_TYPES.get(self.question_type, "other")


class Questioner:
    """Asks about the scenes of a split, one after the other, always what was asked and answered least so far."""

    def __init__(self) -> None:
        self._asked: Counter[tuple[str, ...]] = Counter()

    def ask(self, rng: np.random.Generator, scene: Scene, count: int) -> list[Question]:
        """`count` different questions about `scene`, or as many as can be asked."""
        candidates = sorted(set(_candidates(scene)))
        candidates = [candidates[i] for i in rng.permutation(len(candidates))]
        questions: list[Question] = []
        while candidates and len(questions) < count:
            chosen = min(candidates, key=self._times_asked)
            candidates.remove(chosen)
            text, kind, answer = chosen
            self._asked.update([(kind,), (kind, answer), (kind, answer, text)])
            questions.append(Question(text, kind, answer, _ten_answers(rng, kind, answer)))
        return questions

    def _times_asked(self, candidate: tuple[str, str, str]) -> tuple[int, ...]:
        text, kind, answer = candidate
        return self._asked[kind,], self._asked[kind, answer], self._asked[kind, answer, text]


def _candidates(scene: Scene) -> Iterator[tuple[str, str, str]]:
    """Every question that can be asked: its text, its type and the true answer."""
    shapes = Counter(own.shape for own in scene.shapes)
    colors = Counter(own.color for own in scene.shapes)
    yield "how many shapes are there?", "how many", str(len(scene.shapes))
    for own in scene.shapes:
        yield f"what shape is at the {own.place}?", "what shape is", own.shape
        if shapes[own.shape] == 1:
            yield f"what color is the {own.shape}?", "what color is the", own.color
        if colors[own.color] == 1:
            yield f"where is the {own.color} shape?", "where is the", own.place
        yield f"is there a {own.color} {own.shape}?", "is there a", "yes"
        # Hard negatives: the colour is there on another shape, or the shape in another colour.
        near = [(own.color, shape) for shape in SHAPES] + [(color, own.shape) for color in COLORS]
        for color, shape in near:
            if not scene.contains(shape, color):
                yield f"is there a {color} {shape}?", "is there a", "no"


def _ten_answers(rng: np.random.Generator, kind: str, answer: str) -> tuple[str, ...]:
    """The same answer ten times, or in a tenth of the questions two or three people who see it otherwise."""
    answers = [answer] * _PEOPLE
    if rng.random() < _DISPUTED:
        other = pick(rng, [possible for possible in _ANSWERS[kind] if possible != answer])
        for person in rng.permutation(_PEOPLE)[: int(rng.integers(2, 4))]:
            answers[person] = other
    return tuple(answers)
