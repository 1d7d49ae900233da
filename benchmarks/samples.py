"""What the data benchmarks read: the COCO sample of real data or, on a machine without it, drawn photographs."""

import json
import os
from pathlib import Path

import numpy as np
from PIL import Image

from eve_core.config import DataConfig
from eve_core.data.prepare import prepare_all

COCO_SAMPLE = Path(os.environ.get("EVE_REAL_DATA", Path(__file__).parents[2] / "shared" / "data")) / "coco"


def prepare_photographs(coco: Path, folder: Path) -> Path:
    """A sample in COCO's form as a prepared folder."""
    source = {"set": "coco_captions", "annotations": [str(captions_file(coco))], "images": str(coco / "images")}
    config = DataConfig.model_validate({"sources": [source], "leak_ways": []})
    prepare_all(config, folder, folder.parent, progress=False)
    return folder


def captions_file(coco: Path) -> Path:
    """The captions of a sample in COCO's form."""
    return coco / "annotations" / "captions_sample2014.json"


def draw_photographs(folder: Path, number: int) -> Path:
    """JPEG files of COCO's size and weight in COCO's form: noise with a photograph's spectrum (1 / frequency)."""
    generator = np.random.default_rng(0)
    (folder / "images" / "train2014").mkdir(parents=True)
    (folder / "annotations").mkdir()
    height, width = 480, 640
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    images, annotations = [], []
    for number_of_it in range(1, number + 1):
        noise = generator.standard_normal((height, width, 3))
        spectrum = np.fft.rfft2(noise, axes=(0, 1)) / np.maximum(frequency, 1 / width)[..., None]
        pixels = np.fft.irfft2(spectrum, s=(height, width), axes=(0, 1))
        pixels = 128 + 50 * pixels / pixels.std()
        name = f"COCO_train2014_{number_of_it:012d}.jpg"
        picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        picture.save(folder / "images" / "train2014" / name, quality=90)
        images.append({"id": number_of_it, "file_name": name, "height": height, "width": width})
        caption = f"photograph number {number_of_it} of hills and water under clouds"
        annotations.append({"id": number_of_it, "image_id": number_of_it, "caption": caption})
    content = {"info": {}, "licenses": [], "images": images, "annotations": annotations}
    captions_file(folder).write_text(json.dumps(content))
    return folder
