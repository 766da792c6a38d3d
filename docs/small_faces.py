"""Draws small faces of photographs before and after `predict`, for the page on using a model.

    pip download --no-deps --dest archives gramps==6.0.8
    pip download --no-deps --no-binary exifmwg --dest archives exifmwg==0.7.0
    python docs/small_faces.py archives

The photographs are in the public domain; these packages include them. Every face of up to 64 pixels in them is drawn.
"""

import hashlib
import io
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from PIL import Image, ImageDraw

from pkdn_lightning.config import compose
from pkdn_lightning.predict import predict

HERE: Final = Path(__file__).parent
WHITE_HOUSE: Final = "exifmwg-0.7.0.tar.gz", "exifmwg-0.7.0/tests/samples/images/"
GRAMPS: Final = "gramps-6.0.8-py3-none-any.whl", "gramps-6.0.8.data/data/share/doc/gramps/example/gramps/"
SMALL_PX: Final = 64  # larger faces are not drawn
CUT_PX: Final = 32  # of faces cut out by hand
TIMES: Final = 4  # upscale=
SHOWN_PX, LABEL_PX, GAP_PX, COLUMNS = 128, 14, 8, 5


class Photograph(NamedTuple):
    """A photograph of a package.

    Attributes:
        archive, folder, name: Where it is.
        sha256: Of the file.
        reduced: How many times smaller it becomes first.
        faces: Centres (x, y) of faces that the detector misses; they are cut out, for mode=lr.
    """

    archive: str
    folder: str
    name: str
    sha256: str
    reduced: int = 1
    faces: Sequence[tuple[int, int]] = ()


PHOTOGRAPHS: Final = (
    Photograph(
        *(*WHITE_HOUSE, "sample3.jpg", "1ca82612ad73e6fa8bedb2345872ee085aade7e99b63b1336840b66373132c78"), reduced=3
    ),
    Photograph(*WHITE_HOUSE, "sample1.jpg", "3872d9dd5240297d8927dab193fa2de331a28e055040f79c277d990fed518604"),
    Photograph(
        *(*WHITE_HOUSE, "sample2.jpg", "0ba18acd568855f83d90eb1c2551ffeb2fc30a376432f6075a8b5638bb450f68"), reduced=12
    ),
    Photograph(
        *(*GRAMPS, "AntoineClaudet.png", "c1bddae8f3d086cfde5dfec2b145bfa91846666b307b0b73b2ee84ae111a90ab"),
        faces=[(80, 56)],
    ),
    Photograph(
        *(*GRAMPS, "1897_expeditionsmannschaft_rio_a.jpg"),
        sha256="adaaef7d62c63e355e39441f09ac48b54cba07624ea989685197361c1d310e19",
        faces=[(101, 122), (172, 103), (275, 94), (365, 106), (432, 103)],
    ),
)


class Pair(NamedTuple):
    """A face before and after, both of `SHOWN_PX`, and the words below it."""

    before: Image.Image
    after: Image.Image
    words: str


def opened(photograph: Photograph, archives: Path) -> Image.Image:
    """Returns a photograph, reduced if it is to be.

    Raises:
        ValueError: If its file has changed.
    """
    path, member = archives / photograph.archive, photograph.folder + photograph.name
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            data = wheel.read(member)
    else:
        with tarfile.open(path) as sdist:
            data = sdist.extractfile(member).read()  # type: ignore[union-attr]  # it is a file
    if hashlib.sha256(data).hexdigest() != photograph.sha256:
        raise ValueError(f"{member} in {path} is not the photograph that this script was written for")
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return image.reduce(photograph.reduced)


def pairs_of(photograph: Photograph, image: Image.Image) -> list[Pair]:
    """Returns the small faces of a photograph, as `predict` finds and restores them, the largest first."""
    with tempfile.TemporaryDirectory() as temporary:
        inputs, output = Path(temporary, "in"), Path(temporary, "out")
        inputs.mkdir()
        for number, (x, y) in enumerate(photograph.faces):
            half = CUT_PX // 2
            image.crop((x - half, y - half, x + half, y + half)).save(inputs / f"{number}.png")
        if not photograph.faces:
            image.save(inputs / "0.png")
        mode = ["mode=lr"] if photograph.faces else ["mode=photo", f"upscale={TIMES}"]
        rows = predict(compose("predict", [f"input={inputs}", f"output={output}", *mode])).rows
        pairs = []
        for row in rows:
            before = Image.open(row.input).convert("RGB")
            after = Image.open(output / row.output).convert("RGB")
            if not row.faces:
                pairs.append(pair(before, after, (0, 0, CUT_PX), "cut out"))
            for face in row.faces:
                if face["box"][2] <= SMALL_PX:
                    pairs.append(pair(before, after, face["box"], "left alone" if "kept" in face else ""))
        return pairs


def pair(before: Image.Image, after: Image.Image, box: Sequence[int], remark: str) -> Pair:
    """Returns the square `box` (left, top, side in pixels of `before`) of both, enlarged by bicubic."""
    side = box[2]
    left, top = (float(max(0, min(at, length - side))) for at, length in zip(box[:2], before.size, strict=True))
    size, bicubic = (SHOWN_PX, SHOWN_PX), Image.Resampling.BICUBIC
    shown = before.resize(size, bicubic, box=(left, top, left + side, top + side))
    left, top, width = (value * after.width / before.width for value in (left, top, side))
    restored = after.resize(size, bicubic, box=(left, top, left + width, top + width))
    return Pair(shown, restored, f"{side} px" + (f", {remark}" if remark else ""))


def draw(pairs: Sequence[Pair]) -> Image.Image:
    """Returns pairs with their words, `COLUMNS` in a row."""
    width, height = 2 * SHOWN_PX + GAP_PX, SHOWN_PX + LABEL_PX + GAP_PX
    sheet = Image.new("RGB", (COLUMNS * width - GAP_PX, -(-len(pairs) // COLUMNS) * height - GAP_PX), "white")
    for number, each in enumerate(pairs):
        x, y = number % COLUMNS * width, number // COLUMNS * height
        sheet.paste(each.before, (x, y))
        sheet.paste(each.after, (x + SHOWN_PX, y))
        ImageDraw.Draw(sheet).text((x, y + SHOWN_PX + 1), each.words, fill="black")
    return sheet


def main() -> None:
    """Writes the image."""
    archives = Path(sys.argv[1])
    drawn = [pair for each in PHOTOGRAPHS for pair in pairs_of(each, opened(each, archives))]
    draw(drawn).save(HERE / "small_faces.jpg", quality=88)


if __name__ == "__main__":
    main()
