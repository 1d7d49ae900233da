"""Image-text retrieval: rank a gallery by the contrastive embedding, then re-rank the best by matching."""

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from eve_core.config import AugmentationConfig, EvaluationConfig
from eve_core.data.examples import Examples
from eve_core.data.prepared import ImageStore
from eve_core.data.preprocessing import Preprocessor
from eve_core.progress import Progress
from eve_core.tasks.recall import CUTOFFS, find_nearest, rank_best, rank_reordered, recalls
from eve_core.tasks.task import Task, TaskScores, batches, text_batch

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

    from eve_core.model import EvePreTrainedModel


class RetrievalTask(Task):
    """Recall at 1, 5 and 10 in both directions: a picture's captions, and a caption's picture."""

    name = "retrieval"
    model_class_name = "EveForImageTextRetrieval"
    main_metric = "mean_recall"

    def examples(
        self,
        rows: "pa.Table",
        images: ImageStore,
        preprocessor: Preprocessor,
        labels: list[str] | None,
        augmentation: AugmentationConfig | None = None,
    ) -> Examples:
        """Picture-caption pairs; captions of one picture share an id."""
        return _Pairs(rows.select(["image_id", "caption"]), "caption", images, preprocessor, augmentation)

    def score(
        self,
        model: "EvePreTrainedModel",
        preprocessor: Preprocessor,
        rows: "pa.Table",
        images: ImageStore,
        config: EvaluationConfig,
        description: str,
    ) -> TaskScores:
        """Rank every caption for every picture and the other way round."""
        import pyarrow as pa

        captions = rows.to_pylist()
        gallery = list(dict.fromkeys(row["image_id"] for row in captions))
        row_of = {image_id: row for row, image_id in enumerate(gallery)}
        owner = np.array([row_of[row["image_id"]] for row in captions])
        size = min(config.gallery or len(gallery), len(gallery))
        # Every picture and caption once; pictures that fill no gallery any more go to the last one.
        of_gallery = np.minimum(np.arange(len(gallery)) // size, max(1, len(gallery) // size) - 1)
        galleries = [
            (np.flatnonzero(of_gallery == number), np.flatnonzero(of_gallery[owner] == number))
            for number in range(of_gallery[-1] + 1)
        ]
        total = len(gallery) + len(captions)
        for images_here, texts_here in galleries:
            total += len(images_here) * min(config.rerank, len(texts_here))
            total += len(texts_here) * min(config.rerank, len(images_here))
        text_rank, image_rank = np.empty(len(gallery)), np.empty(len(captions))
        nearest_texts: list[list[int]] = [[] for _ in gallery]
        nearest_images: list[list[int]] = [[] for _ in captions]
        with Progress(description, total, "pair") as progress:
            pictures = _LazyPictures(images, preprocessor)
            texts = [row["caption"] for row in captions]
            image_embeds, text_embeds = _embed(
                model, preprocessor, pictures, gallery, texts, config.batch_size, progress
            )
            match = _Matcher(model, preprocessor, pictures, gallery, texts, config, progress)
            known = {"image": (image_embeds, np.arange(len(gallery))), "text": (text_embeds, owner)}
            found = {"image": (text_rank, nearest_texts), "text": (image_rank, nearest_images)}
            for images_here, texts_here in galleries:
                for asks, queries, answers in (("image", images_here, texts_here), ("text", texts_here, images_here)):
                    embeds, owners = (values[queries] for values in known[asks])
                    among, others = (values[answers] for values in known["text" if asks == "image" else "image"])
                    near = find_nearest(embeds, among, min(config.rerank, len(answers)))
                    near, sound = match.rerank(queries, answers, near, texts_ask=asks == "text")
                    ranks = rank_reordered(rank_best(embeds, among, owners, others), near, owners, others)
                    rank, nearest = found[asks]
                    rank[queries] = np.where(sound, ranks, np.nan)
                    for query, places in zip(queries, answers[near].tolist(), strict=True):
                        nearest[query] = places

        metrics = {**recalls(text_rank, image_rank), "gallery": float(size)}
        # One right answer in as many as there are pictures: chance for a caption, and for a picture whose captions are
        # as many as every other's.
        metrics["text_recall_at_1_over_chance"] = metrics["text_recall_at_1"] * size
        metrics["image_recall_at_1_over_chance"] = metrics["image_recall_at_1"] * size
        items = pa.table(
            {
                "item_id": [f"text:{image_id}" for image_id in gallery]
                + [f"image:{row['caption_id']}" for row in captions],
                "image_id": gallery + [row["image_id"] for row in captions],
                "score": np.concatenate([_recalled(text_rank), _recalled(image_rank)]),
                # Both directions count the same, however many captions a picture has.
                "weight": np.repeat([1 / len(gallery), 1 / len(texts)], [len(gallery), len(texts)]),
                "rank": np.concatenate([text_rank, image_rank]) + 1,
                "text": [""] * len(gallery) + texts,
                "prediction": [texts[places[0]] for places in nearest_texts]
                + ["\n".join(gallery[image] for image in places[:5]) for places in nearest_images],
                "target": [""] * len(gallery) + [row["image_id"] for row in captions],
                "direction": ["image to text"] * len(gallery) + ["text to image"] * len(texts),
            }
        )
        return TaskScores(metrics, items)

    def request(self, row: dict[str, Any], images: ImageStore) -> dict[str, Any]:
        """{"image": bytes, "text": str}, a picture and one of its captions."""
        return {"image": images[row["image_id"]], "text": row["caption"]}

    def predict(
        self, model: "EvePreTrainedModel", preprocessor: Preprocessor, inputs: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """{"image": bytes, "text": str} -> {"score": probability that they match}."""
        import torch

        pictures = torch.stack([preprocessor.picture(row["image"]) for row in inputs]).to(model.device)
        texts = text_batch(preprocessor, [row["text"] for row in inputs], model.device)
        with torch.inference_mode():
            logits = model.match(pictures, **texts).float()
        return [{"score": float(p)} for p in logits.softmax(-1)[:, 1]]


class _Pairs(Examples):
    def build(self, row: dict[str, Any], text: dict[str, list[int]], generator: np.random.Generator) -> dict[str, Any]:
        return {**text, "image_ids": zlib.crc32(row["image_id"].encode())}

    def pictures(self, row: dict[str, Any]) -> tuple[list[str], list[str]]:
        return [row["image_id"]], [row["caption"]]


class _LazyPictures:
    """Pictures as tensors, decoded when they are asked for."""

    def __init__(self, images: ImageStore, preprocessor: Preprocessor) -> None:
        self.images = images
        self.preprocessor = preprocessor

    def batch(self, image_ids: list[str], device: "torch.device") -> "torch.Tensor":
        """(B, 3, S, S)."""
        import torch

        pictures = [self.preprocessor.picture(self.images[image_id], image_id) for image_id in image_ids]
        return torch.stack(pictures).to(device)


def _recalled(rank: np.ndarray) -> np.ndarray:
    """(Q,) ranks from 0 -> (Q,) the share of the cutoffs that a query is found within, on average the mean recall."""
    found = np.mean([rank < cutoff for cutoff in CUTOFFS], axis=0)
    return np.where(np.isnan(rank), np.nan, found)


def _embed(
    model: Any,
    preprocessor: Preprocessor,
    pictures: _LazyPictures,
    gallery: list[str],
    texts: list[str],
    batch_size: int,
    progress: Progress,
) -> tuple[np.ndarray, np.ndarray]:
    """(images, D) and (texts, D)."""
    import torch

    image_embeds, text_embeds = [], []
    with torch.inference_mode():
        for rows in batches(len(gallery), batch_size):
            found = model.embed_images(pictures.batch([gallery[i] for i in rows], model.device))
            image_embeds.append(found.float().cpu().numpy())
            progress.update(len(rows))
        for rows in batches(len(texts), batch_size):
            found = model.embed_texts(**text_batch(preprocessor, [texts[i] for i in rows], model.device))
            text_embeds.append(found.float().cpu().numpy())
            progress.update(len(rows))
    return np.concatenate(image_embeds), np.concatenate(text_embeds)


class _Matcher:
    """Re-ranks the first of each ranking by the matching score of the pair."""

    def __init__(
        self,
        model: Any,
        preprocessor: Preprocessor,
        pictures: _LazyPictures,
        gallery: list[str],
        texts: list[str],
        config: EvaluationConfig,
        progress: Progress,
    ) -> None:
        self.model = model
        self.preprocessor = preprocessor
        self.pictures = pictures
        self.gallery = gallery
        self.texts = texts
        self.batch_size = config.batch_size
        self.progress = progress

    def rerank(
        self, queries: np.ndarray, answers: np.ndarray, nearest: np.ndarray, texts_ask: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """(Q, K) places of the nearest answers -> the same by matching, the best first, and (Q,) whether all of a
        query's scores are numbers.

        Args:
            queries: (Q,) numbers of the captions or pictures that ask.
            answers: (A,) numbers of what they ask for.
            nearest: (Q, K) places in `answers`.
            texts_ask: whether captions ask for pictures.
        """
        import torch

        pairs = [(query, answer) for query, row in zip(queries, answers[nearest], strict=True) for answer in row]
        pairs = [(answer, query) for query, answer in pairs] if texts_ask else pairs
        scores = []
        with torch.inference_mode():
            for rows in batches(len(pairs), self.batch_size):
                chunk = [pairs[i] for i in rows]
                logits = self.model.match(
                    self.pictures.batch([self.gallery[image] for image, _ in chunk], self.model.device),
                    **text_batch(self.preprocessor, [self.texts[text] for _, text in chunk], self.model.device),
                ).float()
                scores.append((logits[:, 1] - logits[:, 0]).cpu().numpy())
                self.progress.update(len(chunk))
        matching = np.concatenate(scores).reshape(nearest.shape)
        order = np.argsort(-matching, axis=1, kind="stable")  # of equals the one that was nearer stays first
        return np.take_along_axis(nearest, order, axis=1), np.isfinite(matching).all(1)
