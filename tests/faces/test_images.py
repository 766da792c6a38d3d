"""Image files of every kind: what becomes RGB, and what is said of those that do not."""

import io
import os
import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from pkdn_lightning.faces.folders import find_images
from pkdn_lightning.faces.images import open_image, open_photograph
from pkdn_lightning.faces.rejection import Rejected
from pkdn_lightning.prepare.pipeline import Job, prepare_store
from pkdn_lightning.prepare.sources.photographs import PhotosSource


def colours(width: int = 64, height: int = 32) -> Image.Image:
    """Returns an image whose four quarters and four sides differ, in blocks that JPEG keeps."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[: height // 2, : width // 2] = (220, 40, 40)
    pixels[: height // 2, width // 2 :] = (40, 200, 60)
    pixels[height // 2 :, : width // 2] = (50, 60, 210)
    pixels[height // 2 :, width // 2 :] = (230, 220, 60)
    return Image.fromarray(pixels)


def pixels(file, **options) -> np.ndarray:
    image = open_photograph(file, **options)
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def rejected(file) -> Rejected:
    with pytest.raises(Rejected) as problem:
        open_photograph(file)
    assert str(file) in problem.value.detail
    return problem.value


# Kinds


def test_cmyk(tmp_path):
    colours().convert("CMYK").save(tmp_path / "a.jpg", quality=95, subsampling=0)
    assert open_image(tmp_path / "a.jpg").mode == "CMYK"
    assert np.abs(pixels(tmp_path / "a.jpg") - np.asarray(colours())).max() <= 4


GREY = Image.fromarray(np.array([[0, 255], [255, 0]], dtype=np.uint8).repeat(8, 0).repeat(8, 1))


@pytest.mark.parametrize(
    "image", [*(GREY.convert(mode) for mode in ("P", "L", "1", "LA", "RGBA")), colours().quantize(8)]
)
def test_modes_that_hold_less_or_more(tmp_path, image):
    image.save(tmp_path / "a.png")
    assert open_image(tmp_path / "a.png").mode == image.mode
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_a_palette_with_a_transparent_colour_lies_over_black(tmp_path, suffix):
    painted = colours().quantize(8)
    clear = painted.getpixel((0, 0))
    painted.save(tmp_path / f"a.{suffix}", transparency=clear)
    expected = np.array(colours()).astype(int)
    expected[:16, :32] = 0
    np.testing.assert_array_equal(pixels(tmp_path / f"a.{suffix}"), expected)


def test_alpha_lies_over_black(tmp_path):
    image = colours(48)
    image.putalpha(Image.fromarray(np.repeat(np.array([[0, 128, 255]], np.uint8), 32, 0).repeat(16, 1)))
    image.save(tmp_path / "a.png")
    found, full = pixels(tmp_path / "a.png"), np.asarray(colours(48)).astype(int)
    assert (found[:, :16] == 0).all()
    assert np.abs(found[:, 16:32] - full[:, 16:32] * 128 / 255).max() <= 1
    np.testing.assert_array_equal(found[:, 32:], full[:, 32:])


@pytest.mark.parametrize("levels", [[-1, 5], [0, 65536]])
def test_32_bits_beyond_16_have_no_agreed_range(tmp_path, levels):
    Image.fromarray(np.array([levels], dtype=np.int32)).save(tmp_path / "a.tif")
    told = rejected(tmp_path / "a.tif").detail
    assert f"from {levels[0]} to {levels[1]}; of an image of 32 bits only 0 to 65535 are read" in told


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_are_scaled_and_not_clipped(tmp_path, suffix):
    levels = np.array([[0, 256, 257, 32896, 65278, 65535]], dtype=np.uint16).repeat(2, 0)
    Image.fromarray(levels).save(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(pixels(tmp_path / f"a.{suffix}")[0, :, 1], [0, 1, 1, 128, 254, 255])


def test_floats_have_no_agreed_range(tmp_path):
    Image.fromarray(np.ones((8, 8), dtype=np.float32)).save(tmp_path / "a.tif")
    why = rejected(tmp_path / "a.tif")
    assert why.reason == "unreadable"
    assert why.detail.endswith("cannot be converted to RGB: a float image has no agreed range")


# Orientation

TURNS = ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_90", "TRANSVERSE", "ROTATE_270")
# How an image lies in its file, by what EXIF then has to say.
STORED = {1: None} | {number: Image.Transpose[name] for number, name in enumerate(TURNS, 2)}


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", STORED)
def test_a_turned_image_is_put_upright_or_left(tmp_path, orientation, suffix):
    turn = STORED[orientation]
    stored = colours() if turn is None else colours().transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if suffix == "webp" else {}
    stored.save(tmp_path / f"a.{suffix}", exif=exif, quality=95, **lossless)
    for upright, expected in ((True, colours()), (False, stored)):
        found = pixels(tmp_path / f"a.{suffix}", upright=upright)
        assert found.shape == np.asarray(expected).shape
        assert np.abs(found - np.asarray(expected)).mean() < 3


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_an_orientation_that_does_not_exist_is_none(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    colours().save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), np.asarray(colours()))


# Colour profiles


def profile(space: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()


def wide() -> bytes:
    """An RGB profile that is not sRGB: red and blue exchanged."""
    made = bytearray(profile("sRGB"))
    tags = {bytes(made[at : at + 4]): at for at in range(132, 132 + 12 * made[131], 12)}
    red, blue = tags[b"rXYZ"], tags[b"bXYZ"]
    made[red + 4 : red + 12], made[blue + 4 : blue + 12] = made[blue + 4 : blue + 12], made[red + 4 : red + 12]
    return bytes(made).replace("sRGB".encode("utf-16-be"), "mine".encode("utf-16-be"))


def test_a_colour_profile_is_applied(tmp_path):
    colours().save(tmp_path / "a.png", icc_profile=wide())
    exchanged = np.asarray(colours())[..., ::-1].astype(int)
    assert np.abs(pixels(tmp_path / "a.png") - exchanged).max() <= 2


@pytest.mark.parametrize("found", [profile("sRGB"), b"no profile", b""])
def test_srgb_and_a_damaged_profile_change_nothing(tmp_path, found):
    colours().save(tmp_path / "a.png", icc_profile=found)
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), np.asarray(colours()))


# Several images in a file


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
def test_several_images_in_a_file(tmp_path, suffix):
    file = tmp_path / f"a.{suffix}"
    colours().save(file, save_all=True, append_images=[colours().rotate(180), colours().rotate(90)])
    why = rejected(file)
    assert why.reason == "animated"
    assert why.detail.endswith("holds 3 images; keep the one that is meant")
    colours().save(file, lossless=True)
    np.testing.assert_array_equal(pixels(file), np.asarray(colours()))


def test_a_cameras_image_with_its_preview(tmp_path):
    colours().save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[colours(32, 16)], quality=95)
    assert open_image(tmp_path / "a.jpg").format == "MPO"
    assert np.abs(pixels(tmp_path / "a.jpg") - np.asarray(colours())).mean() < 3


# Files that are wrong


def test_what_is_not_an_image(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("<html>Quota exceeded</html>")
    (tmp_path / "folder.jpg").mkdir()
    assert str(rejected(tmp_path / "empty.jpg")) == f"unreadable: {tmp_path / 'empty.jpg'} is empty"
    assert str(rejected(tmp_path / "text.jpg")) == f"unreadable: {tmp_path / 'text.jpg'} is no image that can be read"
    assert str(rejected(tmp_path / "none.jpg")) == f"missing: there is no {tmp_path / 'none.jpg'}"
    assert rejected(tmp_path / "folder.jpg").reason == "unreadable"


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("left", [0.05, 0.5, 0.95])
def test_a_truncated_image(tmp_path, kind, left):
    whole = io.BytesIO()
    noise().save(whole, kind)
    file = tmp_path / f"a.{kind.lower()}"
    file.write_bytes(whole.getvalue()[: int(left * len(whole.getvalue()))])
    assert rejected(file).reason in ("truncated", "unreadable")


def test_a_photograph_that_lacks_its_end_is_called_truncated(tmp_path):
    noise().save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:-200])
    assert rejected(tmp_path / "a.jpg").reason == "truncated"


def test_whatever_a_decoder_raises_is_a_reason(tmp_path):
    whole = io.BytesIO()
    noise().save(whole, "GIF", save_all=True, append_images=[noise().rotate(90)])
    reasons = set()
    for length in range(len(whole.getvalue()) - 4200, len(whole.getvalue()) - 4000, 3):  # within the second image
        (tmp_path / "a.gif").write_bytes(whole.getvalue()[:length])
        reasons.add(rejected(tmp_path / "a.gif").reason)
    assert reasons <= {"animated", "truncated", "unreadable"}
    (tmp_path / "a.tif").write_bytes(b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x01\0\0\0\0\0\0\0")  # no width
    assert rejected(tmp_path / "a.tif").reason == "unreadable"


def test_memory_that_runs_out_is_no_fault_of_the_file(tmp_path, monkeypatch):
    colours().save(tmp_path / "a.png")

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(MemoryError):
        open_photograph(tmp_path / "a.png")


@pytest.mark.parametrize(("width", "height"), [(60_000, 60_000), (10_001, 10_000)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_an_image_that_claims_to_be_huge(tmp_path, width, height):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"\0" * 100))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b""))
    assert rejected(tmp_path / "a.png").reason == "too_large"


# Folders


def put(folder, *names) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def walk(folder) -> list[str]:
    return [file.relative_to(folder).as_posix() for file in find_images(folder).images]


def test_images_are_found_by_their_suffix_in_the_order_of_their_paths(tmp_path):
    put(tmp_path, "b.JPG", "a.png", "c/2.jpeg", "c/10.TIFF", "c/d/e.WebP", "a/z.bmp", "notes.txt", "jpg", "list.csv")
    assert walk(tmp_path) == ["a.png", "b.JPG", "a/z.bmp", "c/10.TIFF", "c/2.jpeg", "c/d/e.WebP"]


def test_what_is_hidden_is_left_out(tmp_path):
    put(tmp_path, "x.jpg/a.png", ".b.jpg", "._a.jpg", ".thumbnails/c.jpg", "d/.cache/e/f.jpg", ".images/a.jpg")
    assert walk(tmp_path) == ["x.jpg/a.png"]  # a folder called like an image is a folder
    assert walk(tmp_path / ".images") == ["a.jpg"]  # unless it is what was asked for


def test_linked_folders_are_entered_once(tmp_path):
    put(tmp_path, "real/a.jpg", "elsewhere/b.jpg")
    root = tmp_path / "photos"
    put(root, "c.jpg")
    (root / "up").symlink_to(tmp_path, target_is_directory=True)
    (root / "one").symlink_to(tmp_path / "real", target_is_directory=True)
    (root / "self").symlink_to(root, target_is_directory=True)
    (root / "loop").symlink_to(root / "loop")
    assert walk(root) == ["c.jpg", "one/a.jpg", "up/elsewhere/b.jpg"]


def test_a_link_to_nothing_is_a_missing_image(tmp_path):
    (tmp_path / "a.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "b.jpg").symlink_to(tmp_path / "b.jpg")
    files = list(find_images(tmp_path).images)
    assert [file.name for file in files] == ["a.jpg", "b.jpg"]
    assert [rejected(file).reason for file in files] == ["missing", "unreadable"]


def test_names_of_any_kind_reach_the_store(tmp_path):
    folder = tmp_path / "photos"
    (folder / "a folder").mkdir(parents=True)
    names = ["a b.png", "a folder/süß, 顔.png", 'quote".png', "trailing .png", "comma,;.png", "line\nbreak.png"]
    if sys.platform == "linux":
        names.append(os.fsdecode(b"undecodable \xff.png"))
    for number, name in enumerate(names):
        noise().rotate(number).save(folder / name)
    (folder / "broken \udcfe.png").touch() if sys.platform == "linux" else None
    job = Job(PhotosSource(str(folder), size_px=16, crop="whole", val=0, test=0), "mine")
    store = prepare_store(job, tmp_path / "store", workers=0, progress=False)
    assert len(store.hr) == len(names)
    found = {entry.source for entry in store.entries}
    assert {"a b.png", "a folder/süß, 顔.png", 'quote".png', "comma,;.png", "line break.png"} <= found
    if sys.platform == "linux":
        assert "undecodable \\udcff.png" in found
        assert "broken \\udcfe" in (store.path / "rejects.csv").read_text(encoding="utf-8")
