"""Captions, questions and statements agree with their scenes, judged here by reading the sentences anew."""

import re
from collections import Counter

import numpy as np

from eve_core.data.synthetic.captions import captions
from eve_core.data.synthetic.questions import Question, Questioner
from eve_core.data.synthetic.scene import Scene, random_scene
from eve_core.data.synthetic.statements import random_statement

SCENES = [random_scene(np.random.default_rng([7, index])) for index in range(400)]


def test_captions_name_every_shape_with_its_colour_and_place() -> None:
    rng = np.random.default_rng(0)
    for scene in SCENES:
        texts = captions(rng, scene)
        assert len(set(texts)) == 2
        for text in texts:
            said = re.findall(
                r"(?:(small|large) )?(\w+) (circle|square|triangle|cross) (?:at the )?(\w+ (?:left|right))", text
            )
            assert {(shape, color, place) for _, color, shape, place in said} == scene.description()
            for size, color, shape, place in said:
                true = next(own for own in scene.shapes if own.place == place)
                assert (color, shape, size or true.size) == (true.color, true.shape, true.size)


def answer(question: str, scene: Scene) -> str:
    words = question.rstrip("?").split()
    match words:
        case ["how", "many", *_]:
            return str(len(scene.shapes))
        case ["what", "color", "is", "the", shape]:
            [own] = [own for own in scene.shapes if own.shape == shape]
            return own.color
        case ["what", "shape", "is", "at", "the", *place]:
            [own] = [own for own in scene.shapes if own.place == " ".join(place)]
            return own.shape
        case ["where", "is", "the", color, "shape"]:
            [own] = [own for own in scene.shapes if own.color == color]
            return own.place
        case ["is", "there", "a", color, shape]:
            return "yes" if any((own.color, own.shape) == (color, shape) for own in scene.shapes) else "no"
    raise AssertionError(question)


def asked() -> list[tuple[Scene, Question]]:
    rng, questioner = np.random.default_rng(0), Questioner()
    return [(scene, question) for scene in SCENES for question in questioner.ask(rng, scene, 3)]


def test_answers_are_true_and_questions_about_a_scene_differ() -> None:
    questions = asked()
    assert len({(id(scene), question.text) for scene, question in questions}) == len(questions) == 3 * len(SCENES)
    for scene, question in questions:
        assert question.answer == answer(question.text, scene)
        assert question.text.startswith(question.question_type)
        assert len(question.answers) == 10


def test_a_no_is_a_hard_one() -> None:
    for scene, question in asked():
        if question.answer == "no":
            color, shape = question.text.rstrip("?").split()[-2:]
            assert any(own.color == color or own.shape == shape for own in scene.shapes)


def test_the_same_question_is_answered_yes_and_no() -> None:
    counts = Counter((q.text, q.answer) for _, q in asked() if q.answer_type == "yes/no")
    assert all(abs(counts[text, "yes"] - counts[text, "no"]) <= 2 for text, _ in counts)


def holds(sentence: str, left: Scene, right: Scene) -> bool:
    def contains(scene: Scene, word: str) -> bool:
        return any(word in (own.shape, own.color, own.size) for own in scene.shapes)

    match sentence.split():
        case ["both", "images", "contain", "a", word, "shape"]:
            return contains(left, word) and contains(right, word)
        case ["at", "least", "one", "image", "contains", "a", word]:
            return contains(left, word) or contains(right, word)
        case ["the", "left", "image", "contains", "more", *_]:
            return len(left.shapes) > len(right.shapes)
        case ["the", "right", "image", "contains", "more", *_]:
            return len(left.shapes) < len(right.shapes)
    raise AssertionError(sentence)


def test_statements_are_true_of_one_pair_and_false_of_a_near_one() -> None:
    kinds = Counter()  # type: ignore[var-annotated]
    for index in range(300):
        pairs = random_statement(np.random.default_rng([1, index]))
        assert holds(pairs.sentence, *pairs.true)
        assert not holds(pairs.sentence, *pairs.false)
        assert len({*pairs.true, *pairs.false}) == 4
        before, after = [sorted(sorted(s.description()) for s in pair) for pair in (pairs.true, pairs.false)]
        changed = sum((Counter(map(str, before)) - Counter(map(str, after))).values())
        assert changed <= 1  # one picture at most; none when the two are exchanged
        kinds[" ".join(pairs.sentence.split()[:2])] += 1
    assert set(kinds) == {"both images", "at least", "the left", "the right"}
