"""Nothing is lost on the way: orientation, colour profile, alpha, EXIF, greys."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageCms

from pkdn_lightning.faces.rejection import Rejected
from pkdn_lightning.predict.image_file import ImageFile

from .conftest import face


def test_the_orientation_is_carried_out_and_other_exif_kept(tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a portrait"
    face().crop((0, 0, 128, 96)).save(tmp_path / "a.jpg", exif=exif.tobytes())
    image = ImageFile.open(tmp_path / "a.jpg")
    assert image.rgb.size == (96, 128)
    image.save(tmp_path / "b.png")
    again = Image.open(tmp_path / "b.png")
    assert again.size == (96, 128)
    assert again.getexif()[0x010E] == "a portrait"
    assert 0x0112 not in again.getexif()


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
def test_the_colour_profile_is_kept(tmp_path, suffix):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    face().save(tmp_path / "a.png", icc_profile=profile)
    ImageFile.open(tmp_path / "a.png").save(tmp_path / f"b.{suffix}")
    assert Image.open(tmp_path / f"b.{suffix}").info["icc_profile"] == profile


def test_resolution_xmp_and_comments_are_kept(tmp_path):
    xmp, exif = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>", Image.Exif()
    exif[0x010E] = "a portrait"
    face().save(tmp_path / "a.jpg", dpi=(300, 300), xmp=xmp, comment="found in an attic", exif=exif)
    for source, suffix in (("a.jpg", "png"), ("b.png", "jpg"), ("b.jpg", "tif"), ("b.tif", "webp"), ("b.tif", "png")):
        assert ImageFile.open(tmp_path / source).save(tmp_path / f"b.{suffix}") == ""
        again = Image.open(tmp_path / f"b.{suffix}")
        assert again.info["xmp"].rstrip(b"\0") == xmp
        assert again.getexif()[0x010E] == "a portrait"
        if suffix != "webp":
            assert [round(float(each)) for each in again.info["dpi"]] == [300, 300]
        if (source, suffix) == ("a.jpg", "png"):
            assert again.text["Comment"] == "found in an attic"


def test_metadata_that_does_not_fit_the_format_costs_no_pixel(tmp_path):
    image = replace(ImageFile(face()), exif=b"Exif\0\0" + bytes(70_000))
    assert image.save(tmp_path / "a.jpg") == "its metadata could not be written"
    assert Image.open(tmp_path / "a.jpg").size == (128, 128)


def test_alpha_is_enlarged_and_put_back(tmp_path):
    original = face()
    original.putalpha(Image.linear_gradient("L").resize((128, 128)))
    original.save(tmp_path / "a.png")
    image = ImageFile.open(tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(image.rgb), np.asarray(face()))  # not darkened by its alpha
    image.with_pixels(face().resize((256, 256))).save(tmp_path / "b.png")
    again = Image.open(tmp_path / "b.png")
    assert (again.mode, again.size) == ("RGBA", (256, 256))
    back = again.getchannel("A").resize((128, 128), Image.Resampling.BICUBIC)
    assert np.abs(np.asarray(back).astype(int) - np.asarray(original.getchannel("A"))).max() <= 2


def test_a_format_without_alpha_is_written_without(tmp_path):
    image = face()
    image.putalpha(128)
    image.save(tmp_path / "a.png")
    ImageFile.open(tmp_path / "a.png").save(tmp_path / "b.jpg")
    assert Image.open(tmp_path / "b.jpg").mode == "RGB"


def test_a_grey_image_stays_grey(tmp_path):
    face().convert("L").save(tmp_path / "a.png")
    ImageFile.open(tmp_path / "a.png").save(tmp_path / "b.png")
    assert Image.open(tmp_path / "b.png").mode == "L"


def test_of_an_animation_the_first_image_is_taken_and_said(tmp_path):
    face(2).save(tmp_path / "a.gif", save_all=True, append_images=[face(4), face(3)])
    image = ImageFile.open(tmp_path / "a.gif")
    assert image.notes == ("first of 3 images",)
    assert np.abs(np.asarray(image.rgb).astype(int) - np.asarray(face(2))).mean() < 6  # of a palette


def test_16_bits_are_reduced_and_said(tmp_path):
    Image.fromarray(np.full((8, 8), 257 * 100, dtype=np.uint16)).save(tmp_path / "a.png")
    image = ImageFile.open(tmp_path / "a.png")
    assert image.notes == ("16 bits reduced to 8",)
    assert (np.asarray(image.rgb) == 100).all()


def test_a_failed_write_leaves_nothing(tmp_path):
    face().save(tmp_path / "a.png")
    image = ImageFile.open(tmp_path / "a.png")
    (tmp_path / "b.png").mkdir()
    with pytest.raises(OSError):
        image.save(tmp_path / "b.png")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_a_decompression_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    face().save(tmp_path / "a.png")
    with pytest.raises(Rejected, match="too_large"):
        ImageFile.open(tmp_path / "a.png")
