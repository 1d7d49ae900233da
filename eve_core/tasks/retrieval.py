"""Image-text retrieval: rank a gallery by the contrastive embedding, then re-rank the best by matching."""

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from eve_core.config import AugmentationConfig, EvaluationConfig
from eve_core.data.examples import Examples
from eve_core.data.prepared import ImageStore
from eve_core.data.preprocessing import Preprocessor
from eve_core.progress import Progress
from eve_core.tasks.task import Task, TaskScores, batches, text_batch

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

    from eve_core.model import EvePreTrainedModel

_CUTOFFS = (1, 5, 10)


class RetrievalTask(Task):
    """Recall at 1, 5 and 10 in both directions: a picture's captions, and a caption's picture."""

    name = "retrieval"
    model_class_name = "EveForImageTextRetrieval"

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
        rerank_texts, rerank_images = min(config.rerank, len(captions)), min(config.rerank, len(gallery))
        total = len(gallery) + len(captions) + len(gallery) * rerank_texts + len(captions) * rerank_images
        with Progress(description, total, "pair") as progress:
            pictures = _LazyPictures(images, preprocessor)
            texts = [row["caption"] for row in captions]
            similarity = _similarity(model, preprocessor, pictures, gallery, texts, config.batch_size, progress)
            text_ranking = _ranked(similarity)
            image_ranking = _ranked(similarity.T)
            match = _Matcher(model, preprocessor, pictures, gallery, texts, config.batch_size, progress)
            text_ranking = match.rerank(text_ranking, rerank_texts, lambda image, text: (image, text))
            image_ranking = match.rerank(image_ranking, rerank_images, lambda text, image: (image, text))

        # Rank of the best right answer of each query, from 0.
        text_rank = np.array([np.flatnonzero(owner[ranking] == image)[0] for image, ranking in enumerate(text_ranking)])
        image_rank = np.array([np.flatnonzero(ranking == owner[text])[0] for text, ranking in enumerate(image_ranking)])
        metrics = {}
        for cutoff in _CUTOFFS:
            metrics[f"text_recall_at_{cutoff}"] = float((text_rank < cutoff).mean())
            metrics[f"image_recall_at_{cutoff}"] = float((image_rank < cutoff).mean())
        metrics["mean_recall"] = float(np.mean(list(metrics.values())))
        metrics["gallery"] = float(len(gallery))
        # One right answer in as many as there are pictures: chance for a caption, and for a picture whose captions are
        # as many as every other's.
        metrics["text_recall_at_1_over_chance"] = metrics["text_recall_at_1"] * len(gallery)
        metrics["image_recall_at_1_over_chance"] = metrics["image_recall_at_1"] * len(gallery)
        items = pa.table(
            {
                "item_id": [f"text:{image_id}" for image_id in gallery]
                + [f"image:{row['caption_id']}" for row in captions],
                "image_id": gallery + [row["image_id"] for row in captions],
                "score": np.concatenate([text_rank < 1, image_rank < 1]).astype(float),
                "rank": np.concatenate([text_rank, image_rank]) + 1,
                "text": [""] * len(gallery) + texts,
                "prediction": [texts[ranking[0]] for ranking in text_ranking]
                + ["\n".join(gallery[image] for image in ranking[:5]) for ranking in image_ranking],
                "target": [""] * len(gallery) + [row["image_id"] for row in captions],
            }
        )
        return TaskScores(metrics, items)

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


def _similarity(
    model: Any,
    preprocessor: Preprocessor,
    pictures: _LazyPictures,
    gallery: list[str],
    texts: list[str],
    batch_size: int,
    progress: Progress,
) -> np.ndarray:
    """(images, texts) cosine similarities."""
    import torch

    image_embeds, text_embeds = [], []
    with torch.inference_mode():
        for rows in batches(len(gallery), batch_size):
            image_embeds.append(model.embed_images(pictures.batch([gallery[i] for i in rows], model.device)))
            progress.update(len(rows))
        for rows in batches(len(texts), batch_size):
            batch = text_batch(preprocessor, [texts[i] for i in rows], model.device)
            text_embeds.append(model.embed_texts(**batch))
            progress.update(len(rows))
        similarity = torch.cat(image_embeds) @ torch.cat(text_embeds).T
    return similarity.cpu().numpy()


class _Matcher:
    """Re-ranks the first of each ranking by the matching score of the pair."""

    def __init__(
        self,
        model: Any,
        preprocessor: Preprocessor,
        pictures: _LazyPictures,
        gallery: list[str],
        texts: list[str],
        batch_size: int,
        progress: Progress,
    ) -> None:
        self.model = model
        self.preprocessor = preprocessor
        self.pictures = pictures
        self.gallery = gallery
        self.texts = texts
        self.batch_size = batch_size
        self.progress = progress

    def rerank(self, ranking: np.ndarray, first: int, pair: Any) -> np.ndarray:
        """(queries, answers) -> the same, the `first` of every row reordered; `pair` gives (image, text) of a cell."""
        import torch

        pairs = [pair(query, answer) for query, row in enumerate(ranking) for answer in row[:first]]
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
        reranked = ranking.copy()
        order = _ranked(np.concatenate(scores).reshape(len(ranking), first))
        reranked[:, :first] = np.take_along_axis(ranking[:, :first], order, axis=1)
        return reranked


def _ranked(scores: np.ndarray) -> np.ndarray:
    """(queries, answers) -> answers from the best down; the earlier of two equals first."""
    return np.argsort(-scores, axis=1, kind="stable")
