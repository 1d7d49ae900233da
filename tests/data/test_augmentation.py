"""Random changes are distributed as in torchvision and the official code, and come from one generator alone."""

from collections import Counter

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from eve_core.config.training import AugmentationConfig
from eve_core.data import augmentation
from eve_core.data.augmentation import augment, draw_crop, draw_flip
from eve_core.data.transforms import resize

CROP_ONLY = AugmentationConfig(flip=False)
EVERYTHING = AugmentationConfig(rand_augment=(2, 7), color_jitter=0.4)


def picture(height: int = 40, width: int = 60) -> torch.Tensor:
    """(3, H, W): one channel rises to the right, one downwards, one is noise."""
    x, y = torch.linspace(0, 255, width), torch.linspace(0, 255, height)
    noise = torch.randint(256, (height, width), generator=torch.Generator().manual_seed(0)).float()
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width), noise]).to(torch.uint8)


def view(pixels: torch.Tensor, config: AugmentationConfig, seed: int, *, flip: bool = False) -> torch.Tensor:
    return augment(pixels, 16, config, flip=flip, generator=np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("height", "width", "scale"), [(480, 640, (0.5, 1.0)), (375, 500, (0.2, 0.6)), (90, 30, (0.5, 1.0))]
)
def test_crops_are_distributed_as_torchvisions(height, width, scale):
    torch.manual_seed(0)
    generator, number = np.random.default_rng(0), 4000
    theirs = [crop_of_torchvision(height, width, scale) for _ in range(number)]
    ours = [draw_crop(height, width, scale, generator) for _ in range(number)]
    for quantity in (
        lambda top, left, h, w: h * w / (height * width),
        lambda top, left, h, w: np.log(w / h),
        lambda top, left, h, w: top,
        lambda top, left, h, w: left,
    ):
        one, other = (np.sort([quantity(*crop) for crop in crops]) for crops in (ours, theirs))
        # The two-sample Kolmogorov-Smirnov distance stays below this with probability 0.999.
        values = np.union1d(one, other)
        distance = abs(np.searchsorted(one, values, "right") - np.searchsorted(other, values, "right")).max() / number
        assert distance < 1.95 * np.sqrt(2 / number)


def crop_of_torchvision(height: int, width: int, scale: tuple[float, float]) -> tuple[int, int, int, int]:
    """top, left, height, width."""
    crop = v2.RandomResizedCrop(16, scale=scale)
    drawn = crop.make_params([torch.empty(3, height, width)])
    return drawn["top"], drawn["left"], drawn["height"], drawn["width"]


@pytest.mark.parametrize(("height", "width"), [(10, 1000), (1000, 10), (8, 8), (9, 300)])
def test_what_no_crop_fits_gives_its_middle_as_in_torchvision(height, width):
    scale = (0.999, 1.0) if height == width else (0.5, 1.0)
    crop = draw_crop(height, width, scale, np.random.default_rng(0))
    if height != width:
        assert crop == crop_of_torchvision(height, width, scale)
    top, left, h, w = crop
    assert 0 <= top <= height - h
    assert 0 <= left <= width - w
    assert min(h, w) > 0


def test_a_view_is_a_part_of_the_picture_mirrored_or_not():
    pixels = picture()
    for seed in range(30):
        top, left, height, width = draw_crop(40, 60, (0.5, 1.0), np.random.default_rng(seed))
        expected = resize(pixels[:, top : top + height, left : left + width], 16)
        assert torch.equal(view(pixels, CROP_ONLY, seed), expected)
        assert torch.equal(view(pixels, CROP_ONLY, seed, flip=True), expected.flip(-1))


def test_a_view_is_bytes_of_the_models_size_whatever_is_done():
    for seed in range(40):
        pixels = view(picture(), EVERYTHING, seed, flip=seed % 2 == 0)
        assert pixels.shape == (3, 16, 16)
        assert pixels.dtype == torch.uint8


def test_every_draw_comes_from_the_generator():
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    views = [view(picture(), EVERYTHING, seed) for seed in (0, 1, 2, 0)]
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert torch.equal(views[0], views[3])
    assert not torch.equal(views[0], views[1])


@pytest.mark.parametrize("texts", [["a dog on a bench"], ["what is it?", "a dog", "a cat"], []])
def test_every_other_picture_is_mirrored(texts):
    generator = np.random.default_rng(0)
    flips = [draw_flip(AugmentationConfig(), texts, generator) for _ in range(2000)]
    assert abs(np.mean(flips) - 0.5) < 0.05
    assert not any(draw_flip(CROP_ONLY, texts, generator) for _ in range(100))


@pytest.mark.parametrize(
    "texts",
    [
        ["the dog on the left"],
        ["A man turns RIGHT"],
        ["the leftmost cup"],
        ["a left-handed batter"],
        ["where is the cat?", "on chair", "right"],
    ],
)
def test_nothing_is_mirrored_that_a_text_calls_left_or_right(texts):
    generator = np.random.default_rng(0)
    assert not any(draw_flip(AugmentationConfig(), texts, generator) for _ in range(100))


def test_each_operation_is_chosen_as_often_and_done_every_other_time(monkeypatch):
    done = []
    monkeypatch.setattr(
        augmentation, "_operate", lambda pixels, name, share, sign: done.append((name, share, sign)) or pixels
    )
    for seed in range(3000):
        view(picture(8, 8), AugmentationConfig(rand_augment=(2, 7)), seed)
    counts = Counter(name for name, _, _ in done)
    assert len(counts) == 10
    assert len(done) == pytest.approx(3000, rel=0.05)
    assert max(counts.values()) < 1.25 * min(counts.values())
    assert {share for _, share, _ in done} == {0.7}
    assert abs(np.mean([sign for _, _, sign in done])) < 0.05


def test_operations_do_what_the_official_ones_do():
    from torchvision.transforms.v2 import functional

    def operate(name, share=0.7, sign=1):
        return augmentation._operate(pixels, name, share, sign)

    pixels = picture(40, 40) // 2 + 20
    assert torch.equal(operate("identity"), pixels)
    assert torch.equal(operate("equalize"), functional.equalize(pixels))
    stretched = operate("autocontrast")
    assert (stretched.amin((1, 2)) == 0).all()
    assert (stretched.amax((1, 2)) >= 254).all()
    assert torch.equal(operate("brightness"), (pixels * 1.36).clamp(0, 255).to(torch.uint8))
    assert torch.equal(operate("sharpness"), functional.adjust_sharpness(pixels, 1.36))
    for sign in (1, -1):
        shifted = operate("shift_x", sign=sign)
        kept, moved = (slice(0, 33), slice(7, 40)) if sign == 1 else (slice(7, 40), slice(0, 33))
        assert (shifted[:, :, moved].int() - pixels[:, :, kept].int()).abs().max() <= 1
        assert (shifted[:, :, :6] if sign == 1 else shifted[:, :, 34:]).eq(128).all()
    assert (operate("shift_y")[:, 7:].int() - pixels[:, :33].int()).abs().max() <= 1
    # The upper left corner stays where it is, and a row (column) moves by 0.21 of its distance from there.
    ramp = (6 * torch.arange(40)).expand(3, 40, 40).to(torch.uint8)
    moved_by = 6 * 0.21 * (torch.arange(40) + 0.5)[:, None]
    for name, table in (("shear_x", ramp), ("shear_y", ramp.mT)):
        sheared = augmentation._operate(table, name, 0.7, 1)
        rows = (sheared if name == "shear_x" else sheared.mT)[0, :, :30].float()
        assert (rows - (ramp[0, :, :30] + moved_by)).abs().max() <= 1.5
    middle = operate("turn")[:, 18:22, 18:22].float().mean((1, 2))
    assert (middle - pixels[:, 18:22, 18:22].float().mean((1, 2))).abs()[:2].max() < 8
    assert operate("turn")[:, 0, 0].eq(128).all()  # 21 degrees leave the corners bare


def test_colours_change_by_up_to_the_strength_in_any_order(monkeypatch):
    from torchvision.transforms.v2 import functional

    calls = []
    for name in ("brightness", "contrast", "saturation"):
        monkeypatch.setattr(
            functional, f"adjust_{name}", lambda pixels, factor, name=name: calls.append((name, factor)) or pixels
        )
    for seed in range(300):
        view(picture(8, 8), AugmentationConfig(color_jitter=0.4), seed)
    factors = np.array([factor for _, factor in calls])
    assert len(factors) == 900
    assert factors.min() >= 0.6
    assert factors.max() <= 1.4
    assert abs(factors.mean() - 1) < 0.03
    orders = Counter(tuple(name for name, _ in calls[start : start + 3]) for start in range(0, 900, 3))
    assert len(orders) == 6


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"crop_scale": (0.9, 0.5)}, r"crop_scale is \[0.9, 0.5\]; give two rising shares"),
        ({"crop_scale": (0.0, 1.0)}, "crop_scale"),
        ({"crop_scale": (0.5, 1.5)}, "crop_scale"),
        ({"rand_augment": (0, 7)}, r"rand_augment is \[0, 7.0\]; give 1 or more, and 0 to 10"),
        ({"rand_augment": (2, 11)}, "rand_augment"),
        ({"color_jitter": 1.5}, "color_jitter"),
    ],
)
def test_impossible_settings_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        AugmentationConfig(**fields)
