"""A sharp face is left alone and an enlarged LR is recognised, whatever contrast and brightness.

`benchmarks/detail.py` measures the same on more faces.
"""

import io

import numpy as np
import pytest
from PIL import Image

from pkdn_lightning.predict.detail import is_enlarged, is_enlarged_within, lost_detail

from .conftest import blurred, face

FACES = (2, 4, 7)
TONES = {
    "plain": lambda levels: levels,
    "contrast": lambda levels: 128 + (levels - 128) * 0.5,
    "dark": lambda levels: levels * 0.35,
    "gamma 0.5": lambda levels: 255 * (levels / 255) ** 0.5,
    "gamma 2": lambda levels: 255 * (levels / 255) ** 2,
    "shadow": lambda levels: levels * np.linspace(0.1, 1, levels.shape[1])[None, :, None],
    "pale": lambda levels: levels * 0.45 + 100,
}


def toned(image: Image.Image, tone: str) -> Image.Image:
    return Image.fromarray(TONES[tone](np.asarray(image, np.float64)).clip(0, 255).round().astype(np.uint8))


def jpeg(image: Image.Image) -> Image.Image:
    stored = io.BytesIO()
    image.save(stored, "JPEG", quality=50)
    return Image.open(stored).convert("RGB")


@pytest.mark.parametrize("tone", TONES)
def test_a_sharp_face_is_no_enlarged_lr(tone):
    for number in FACES:
        sharp = toned(face(number), tone)
        big = sharp.resize((300, 300), Image.Resampling.BICUBIC)
        assert not any(is_enlarged(image, 16) or is_enlarged_within(image, 16) for image in (sharp, jpeg(sharp), big))


@pytest.mark.parametrize("tone", [tone for tone in TONES if tone not in ("shadow", "gamma 0.5", "gamma 2")])
@pytest.mark.parametrize("name", ["BICUBIC", "BILINEAR", "LANCZOS", "NEAREST"])
def test_an_enlarged_lr_is_recognised(name, tone):
    for number in FACES:
        for size in (64, 128, 256):
            image = toned(face(number, 16), tone).resize((size, size), Image.Resampling[name])
            assert is_enlarged(image, 16)
            assert size < 128 or is_enlarged(jpeg(image), 16)


def test_the_middle_of_a_square_decides_in_a_photograph():
    canvas = Image.new("RGB", (128, 128), "gray")
    canvas.paste(blurred(2, 112), (8, 8))  # a sharp edge around it
    assert not is_enlarged(canvas, 16)
    assert is_enlarged_within(canvas, 16)


@pytest.mark.parametrize(
    "image", [Image.new("RGB", (128, 128), "teal"), toned(blurred(), "plain").point(lambda v: v * 0.02)]
)
def test_what_shows_nothing_is_left_alone(image):
    assert lost_detail(image, 16) == float("inf")
