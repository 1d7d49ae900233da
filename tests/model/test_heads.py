"""The downstream models and the pre-training model: losses by hand, and what they refuse."""

import pytest
import torch

from eve_core.model import (
    EveForImageTextRetrieval,
    EveForPreTraining,
    EveForVisualQuestionAnswering,
    EveForVisualReasoning,
    alignment,
)
from eve_core.model.alignment import pairs_to_match


@pytest.fixture
def retrieval(config):
    return EveForImageTextRetrieval(config).eval()


@torch.no_grad()
def test_answer_loss_is_summed_over_answers_and_averaged_over_questions(config, pairs):
    config.num_labels = 5
    model = EveForVisualQuestionAnswering(config).eval()
    labels = torch.rand(3, 5)
    output = model(**pairs(3), labels=labels)
    p = output.logits.sigmoid()
    by_hand = -(labels * p.log() + (1 - labels) * (1 - p).log()).sum(1).mean()
    torch.testing.assert_close(output.loss, by_hand)
    assert model(**pairs(3)).loss is None


@torch.no_grad()
def test_visual_reasoning_sees_left_and_right(config, pairs):
    model = EveForVisualReasoning(config).eval()
    batch = pairs(2)
    two = torch.randn(2, 2, 3, 32, 32)
    batch["pixel_values"] = two
    labels = torch.tensor([1, 0])
    output = model(**batch, labels=labels)
    by_hand = -output.logits.log_softmax(-1)[torch.arange(2), labels].mean()
    torch.testing.assert_close(output.loss, by_hand)
    swapped = model(**{**batch, "pixel_values": two.flip(1)}).logits
    assert not torch.allclose(swapped, output.logits)


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (2, 3, 3, 32, 32)])
def test_visual_reasoning_refuses_what_is_not_two_pictures(config, pairs, shape):
    model = EveForVisualReasoning(config)
    with pytest.raises(ValueError, match=r"\(batch, 2, 3, height, width\)"):
        model(**{**pairs(2), "pixel_values": torch.zeros(shape)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_ids": torch.ones(8).long(), "attention_mask": None}, r"input_ids has shape \(8,\)"),
        ({"input_ids": torch.ones(2, 1, 8).long(), "attention_mask": None}, r"input_ids has shape \(2, 1, 8\)"),
        ({"attention_mask": torch.ones(2, 1, 8)}, r"attention_mask has shape \(2, 1, 8\)"),
        ({"pixel_values": torch.zeros(1, 2, 3, 32, 32)}, "1 pairs and input_ids 2 texts"),
    ],
)
def test_visual_reasoning_refuses_texts_that_do_not_fit(config, pairs, change, message):
    batch = {**pairs(2), "pixel_values": torch.zeros(2, 2, 3, 32, 32)}
    with pytest.raises(ValueError, match=message):
        EveForVisualReasoning(config)(**{**batch, **change})


def test_retrieval_refuses_ids_of_other_pairs(retrieval, pairs):
    with pytest.raises(ValueError, match=r"image_ids has shape \(2,\); give one a pair, \(3,\)"):
        retrieval(**pairs(3), image_ids=torch.arange(2))


@torch.no_grad()
def test_embeddings_have_unit_length(retrieval, pairs):
    output = retrieval(**pairs(3))
    for embeds in (output.image_embeds, output.text_embeds):
        torch.testing.assert_close(embeds.norm(dim=-1), torch.ones(3))
    assert output.loss is None


@torch.no_grad()
def test_contrastive_loss_by_hand(retrieval, pairs):
    image_ids = torch.tensor([7, 7, 9])  # two captions of one picture are positives of each other
    output = retrieval(**pairs(3), image_ids=image_ids)
    similarity = output.image_embeds @ output.text_embeds.T / 0.07
    targets = torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    to_text = -(targets * similarity.log_softmax(1)).sum(1).mean()
    to_image = -(targets * similarity.T.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(output.itc_loss, (to_text + to_image) / 2)
    torch.testing.assert_close(output.loss, output.itc_loss + output.itm_loss)


@torch.no_grad()
def test_matching_loss_by_hand_where_there_is_one_possible_negative(retrieval, pairs):
    batch = pairs(2)
    output = retrieval(**batch, image_ids=torch.tensor([0, 1]))
    crossed = {**batch, "pixel_values": batch["pixel_values"].flip(0)}
    right, wrong = retrieval.match(**batch), retrieval.match(**crossed)
    # Each crossed pair appears twice: as the picture for a text and as the text for a picture.
    logits = torch.cat([right, wrong, wrong])
    labels = torch.tensor([1, 1, 0, 0, 0, 0])
    by_hand = -logits.log_softmax(-1)[torch.arange(6), labels].mean()
    torch.testing.assert_close(output.itm_loss, by_hand, rtol=1e-4, atol=1e-5)


def test_pictures_sent_to_other_processes_are_halved_and_the_loss_is_the_same(retrieval, pairs, monkeypatch):
    for part in (retrieval, retrieval.alignment):
        part.training = True  # and nothing below, where paths are dropped
    batch = {**pairs(4), "image_ids": torch.arange(4)}
    batch["pixel_values"] = batch["pixel_values"] + 1e-3  # no number that bfloat16 has
    sent = []

    def loss() -> torch.Tensor:
        torch.manual_seed(0)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            return retrieval(**batch).loss

    monkeypatch.setattr(alignment, "gather_rows", lambda rows: sent.append(rows) or rows)
    halved = loss()
    assert [rows.dtype for rows in sent if rows.dim() == 4] == [torch.bfloat16]
    monkeypatch.setattr(alignment, "_as_the_network_reads", lambda pixel_values: pixel_values)
    assert torch.equal(halved, loss())


def test_a_batch_of_one_picture_still_has_a_finite_loss(retrieval, pairs):
    output = retrieval(**pairs(2), image_ids=torch.tensor([3, 3]))
    output.loss.backward()
    assert torch.isfinite(output.loss)


def test_hard_negatives_are_never_of_the_same_picture_and_prefer_the_similar():
    torch.manual_seed(0)
    image_ids = torch.tensor([0, 0, 1, 2])
    similarity = torch.tensor([[9.0, 9.0, 4.0, 0.0]]).repeat(4, 1)
    for _ in range(50):
        images, texts, labels = pairs_to_match(similarity, image_ids)
        assert torch.equal(image_ids[images] == image_ids[texts], labels.bool())
        assert labels.tolist() == [1] * 4 + [0] * 8
        assert images[:4].tolist() == texts[:4].tolist() == texts[4:8].tolist() == images[8:].tolist() == [0, 1, 2, 3]
    hardest = torch.stack([pairs_to_match(similarity, image_ids)[1][8] for _ in range(200)])
    assert (hardest == 2).float().mean() > 0.8


def test_pre_training_predicts_the_masked_places_and_no_others(config, pairs):
    model = EveForPreTraining(config).eval()
    batch = pairs(2)
    token_mask = torch.zeros(2, 8, dtype=torch.bool)
    token_mask[0, [1, 4]] = token_mask[1, 2] = True
    masked = torch.where(token_mask, 1, batch["input_ids"])
    visible, hidden = torch.arange(4).expand(2, 4), torch.arange(4, 16).expand(2, 12)
    rest = {"visible_patches": visible, "masked_patches": hidden, "masked_input_ids": masked, "token_mask": token_mask}
    with torch.no_grad():
        output = model(**batch, **rest)
        assert output.patch_predictions.shape == (2, 12, 3 * 8 * 8)
        assert output.token_logits.shape == (3, 60)
        # What is masked cannot be seen: other words in the masked places, other pixels in the masked patches.
        words = model(**{**batch, "input_ids": torch.where(token_mask, 5, batch["input_ids"])}, **rest).token_logits
        torch.testing.assert_close(words, output.token_logits, rtol=0, atol=0)
        changed = batch["pixel_values"].clone()
        changed[:, :, 8:] = 3.0
        patches = model(**{**batch, "pixel_values": changed}, **rest).patch_predictions
        torch.testing.assert_close(patches, output.patch_predictions, rtol=0, atol=0)


@torch.no_grad()
def test_bi_attention_sees_both_pictures_and_no_padding(config, pairs):
    config.visual_reasoning_head = "bi_attention"
    model = EveForVisualReasoning(config).eval()
    batch = pairs(2)
    batch["pixel_values"] = torch.randn(2, 2, 3, 32, 32)
    logits = model(**batch).logits
    assert not torch.allclose(model(**{**batch, "pixel_values": batch["pixel_values"].flip(1)}).logits, logits)
    longer = {
        **batch,
        "input_ids": torch.nn.functional.pad(batch["input_ids"], (0, 3), value=5),
        "attention_mask": torch.nn.functional.pad(batch["attention_mask"], (0, 3)),
    }
    torch.testing.assert_close(model(**longer).logits, logits, rtol=1e-4, atol=1e-5)


def test_pre_training_names_what_a_task_lacks(config, pairs):
    with pytest.raises(ValueError, match="mim is one of pretraining_tasks and needs visible_patches, masked_patches"):
        EveForPreTraining(config)(**pairs(2))
    config.pretraining_tasks = ["mlm"]
    batch = pairs(2)
    token_mask = torch.zeros(2, 8, dtype=torch.bool)
    token_mask[0, 1] = True
    with pytest.raises(ValueError, match=r"token_mask of shape \(2, 8\) has rows without a masked token"):
        EveForPreTraining(config)(**batch, masked_input_ids=batch["input_ids"], token_mask=token_mask)


@pytest.mark.parametrize("tasks", [["mlm"], ["mim"], ["mlm", "mim"]])
def test_pre_training_refuses_targets_that_are_none(config, pairs, tasks):
    config.pretraining_tasks = tasks
    model, batch = EveForPreTraining(config), pairs(2)
    masked = {"masked_input_ids": batch["input_ids"], "token_mask": torch.zeros(2, 8).bool()}
    masked["token_mask"][:, 1] = True
    patches = {"visible_patches": torch.arange(4).expand(2, -1), "masked_patches": torch.arange(4, 16).expand(2, -1)}
    given = {**batch, **masked, **patches}
    model(**given)
    assert model(**{**given, "attention_mask": None}).load_balance_loss is not None
    wrong = {"input_ids": batch["input_ids"].masked_fill(masked["token_mask"], -100)}
    refused = [(wrong, "input_ids.*outside the vocabulary")]
    if "mlm" in tasks:
        refused += [
            ({"token_mask": masked["token_mask"].long()}, r"token_mask of shape \(2, 8\) is torch.int64; give bool"),
            ({"token_mask": masked["token_mask"].byte()}, "is torch.uint8; give bool"),
        ]
    if "mim" in tasks:
        refused += [
            ({"masked_patches": torch.full((2, 4), 16)}, "masked_patches.*outside the picture's patches"),
            ({"masked_patches": torch.zeros(1, 4).long()}, r"masked_patches has shape \(1, 4\)"),
            ({"masked_patches": torch.arange(3, 16).expand(2, -1)}, "have patches in common"),
        ]
    for change, message in refused:
        with pytest.raises(ValueError, match=message):
            model(**{**given, **change})
