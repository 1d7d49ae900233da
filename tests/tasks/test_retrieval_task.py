"""Retrieval: recall in both directions against a computation query by query."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

from eve_core.config import EvaluationConfig, Split
from eve_core.data.selection import split_rows
from eve_core.model import EveForImageTextRetrieval
from eve_core.tasks.retrieval import RetrievalTask
from eve_core.tasks.task import text_batch


@pytest.fixture(scope="module")
def rows(prepared):
    return split_rows(prepared, Split(set="flickr8k", splits=["test"]))


@pytest.fixture
def model(small_config):
    torch.manual_seed(0)
    return EveForImageTextRetrieval(small_config()).eval()


def one_by_one(model, preprocessor, images, rows, rerank):
    """Ranks of the best right answer, from 1: of each picture's captions, and of each caption's picture."""
    captions = rows.to_pylist()
    gallery = sorted({row["image_id"] for row in captions}, key=[row["image_id"] for row in captions].index)
    device = torch.device("cpu")

    def picture(image_id):
        return preprocessor.picture(images[image_id])[None]

    def rank(candidates, similarity, matching, is_right):
        order = sorted(range(len(candidates)), key=lambda i: -similarity(candidates[i]))  # stable: earlier first
        first = sorted(order[:rerank], key=lambda i: -matching(candidates[i]))
        return 1 + [bool(is_right(candidates[i])) for i in first + order[rerank:]].index(True)

    with torch.inference_mode():
        vision = {image_id: model.embed_images(picture(image_id))[0] for image_id in gallery}
        words = {
            row["caption_id"]: model.embed_texts(**text_batch(preprocessor, [row["caption"]], device))[0]
            for row in captions
        }

        def similarity(image_id, row):
            return float(vision[image_id] @ words[row["caption_id"]])

        def matching(image_id, row):
            logits = model.match(picture(image_id), **text_batch(preprocessor, [row["caption"]], device))[0]
            return float(logits[1] - logits[0])

        text_ranks = [
            rank(
                captions,
                lambda row, image_id=image_id: similarity(image_id, row),
                lambda row, image_id=image_id: matching(image_id, row),
                lambda row, image_id=image_id: row["image_id"] == image_id,
            )
            for image_id in gallery
        ]
        image_ranks = [
            rank(
                gallery,
                lambda image_id, row=row: similarity(image_id, row),
                lambda image_id, row=row: matching(image_id, row),
                lambda image_id, row=row: image_id == row["image_id"],
            )
            for row in captions
        ]
    return text_ranks, image_ranks


@pytest.mark.parametrize("rerank", [1, 4, 1000])
def test_recall_equals_a_computation_query_by_query(prepared, preprocessor, model, rows, rerank):
    config = EvaluationConfig(batch_size=7, rerank=rerank)
    scored = RetrievalTask().score(model, preprocessor, rows, prepared.images, config, "scoring")
    text_ranks, image_ranks = one_by_one(model, preprocessor, prepared.images, rows, rerank)
    assert scored.items["rank"].to_pylist() == text_ranks + image_ranks
    recalls = {}
    for cutoff in (1, 5, 10):
        recalls[f"text_recall_at_{cutoff}"] = np.mean([rank <= cutoff for rank in text_ranks])
        recalls[f"image_recall_at_{cutoff}"] = np.mean([rank <= cutoff for rank in image_ranks])
    assert {name: scored.metrics[name] for name in recalls} == pytest.approx(recalls)
    assert scored.metrics["mean_recall"] == pytest.approx(np.mean(list(recalls.values())))
    gallery = len(set(rows["image_id"].to_pylist()))
    assert scored.metrics["gallery"] == gallery
    assert scored.metrics["image_recall_at_1_over_chance"] == pytest.approx(gallery * recalls["image_recall_at_1"])
    shares = [np.mean([rank <= cutoff for cutoff in (1, 5, 10)]) for rank in text_ranks + image_ranks]
    assert scored.items["score"].to_pylist() == pytest.approx(shares)
    assert np.average(scored.items["score"], weights=scored.items["weight"]) == pytest.approx(
        scored.metrics["mean_recall"]
    )


def test_a_test_may_be_divided_into_galleries(prepared, preprocessor, model, rows):
    """As COCO's 1k test: five thousand pictures, a thousand at a time."""
    config = EvaluationConfig(batch_size=7, rerank=4, gallery=3)
    scored = RetrievalTask().score(model, preprocessor, rows, prepared.images, config, "scoring")
    gallery = list(dict.fromkeys(rows["image_id"].to_pylist()))
    text_ranks, image_ranks = [], []
    for start, end in ((0, 3), (3, len(gallery))):  # what does not fill a gallery goes to the last one
        here = rows.filter(pc.is_in(rows["image_id"], pa.array(gallery[start:end])))
        of_images, of_texts = one_by_one(model, preprocessor, prepared.images, here, 4)
        text_ranks += of_images
        image_ranks += of_texts
    assert scored.items["rank"].to_pylist() == text_ranks + image_ranks
    assert scored.metrics["gallery"] == 3


def test_a_model_that_finds_everything_equal_gains_nothing_by_ties(prepared, preprocessor, model, rows):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    config = EvaluationConfig(rerank=4)
    scored = RetrievalTask().score(model, preprocessor, rows, prepared.images, config, "scoring")
    gallery = len(set(rows["image_id"].to_pylist()))
    assert scored.metrics["image_recall_at_1"] == pytest.approx(1 / gallery)
    assert scored.metrics["text_recall_at_1"] == pytest.approx(1 / gallery)


def test_captions_of_one_picture_share_an_id_and_others_do_not(prepared, preprocessor, rows):
    examples = RetrievalTask().examples(rows, prepared.images, preprocessor, None)
    ids = [examples.example(index, np.random.default_rng(0))["image_ids"] for index in range(len(examples))]
    image_ids = rows["image_id"].to_pylist()
    assert [[a == b for b in ids] for a in ids] == [[a == b for b in image_ids] for a in image_ids]


def test_a_pair_is_scored_with_a_probability(prepared, preprocessor, model, rows):
    row = rows.to_pylist()[0]
    request = {"image": prepared.images[row["image_id"]], "text": row["caption"]}
    answer = RetrievalTask().predict(model, preprocessor, [request])[0]
    assert 0 < answer["score"] < 1
