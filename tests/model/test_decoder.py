"""Patches of pixels, and the decoder that predicts them."""

import torch

from eve_core.model.decoder import PixelDecoder, patchify, unpatchify


def test_patches_run_row_by_row_with_channels_last():
    picture = torch.arange(3 * 4 * 4).view(1, 3, 4, 4)
    patches = patchify(picture, 2)
    assert patches.shape == (1, 4, 12)
    upper_right = picture[0, :, :2, 2:]
    assert patches[0, 1].tolist() == [
        int(upper_right[channel, y, x]) for y in range(2) for x in range(2) for channel in range(3)
    ]


def test_unpatchify_is_the_inverse():
    picture = torch.randn(2, 3, 24, 24)
    assert torch.equal(unpatchify(patchify(picture, 8), 8), picture)


@torch.no_grad()
def test_predictions_follow_the_order_of_the_masked_patches(config):
    decoder = PixelDecoder(config).eval()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    vision = torch.randn(1, 5, 32)
    visible, masked = torch.tensor([[0, 1, 2, 3]]), torch.tensor([[9, 4, 7]])
    predictions = decoder(vision, visible, masked, (4, 4))
    assert predictions.shape == (1, 3, 3 * 8 * 8)
    other_order = decoder(vision, visible, masked.flip(1), (4, 4))
    torch.testing.assert_close(other_order, predictions.flip(1), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(predictions[:, 0], predictions[:, 1])  # a place has its own prediction
