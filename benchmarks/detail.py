"""How often `pkdn predict` takes a sharp face for an enlarged LR, and how often it recognises one.

    python benchmarks/detail.py DATA/celeba/test/images DATA/helen/test/images --faces 100

The arguments are folders of sharp square faces. The decision is that of `mode=auto`, with the face where the detector
finds it in the unchanged picture; faces pasted into photographs are detected anew. The
tables are those of docs/using.md.
"""

import argparse
import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pkdn_lightning.faces.detection import Detection, detect_faces
from pkdn_lightning.faces.folders import find_images
from pkdn_lightning.faces.rejection import Rejected
from pkdn_lightning.predict import routing
from pkdn_lightning.predict.image_file import ImageFile
from pkdn_lightning.predict.models import Model, ModelSet
from pkdn_lightning.predict.routing import Mode

LR_PX, HR_PX = 16, 128
_EVERY: Final = 5  # detecting takes most of the time
FILTERS: Final = {each.name.lower(): each for each in Image.Resampling if each.name != "BOX"}
Levels = NDArray[np.float64]


def shadow(levels: Levels) -> Levels:
    """Returns an image whose left half is darkened to 0.15, with a soft border."""
    width = levels.shape[1]
    return levels * np.interp(np.arange(width), [0.4 * width, 0.6 * width], [0.15, 1])[None, :, None]


TONES: Final[dict[str, Callable[[Levels], Levels]]] = {
    "as it is": lambda levels: levels,
    "contrast x0.5": lambda levels: 128 + (levels - 128) * 0.5,
    "dark, x0.35": lambda levels: levels * 0.35,
    "gamma 0.5": lambda levels: 255 * (levels / 255) ** 0.5,
    "gamma 2": lambda levels: 255 * (levels / 255) ** 2,
    "shadow on one side": shadow,
    "pale, x0.45 + 100": lambda levels: levels * 0.45 + 100,
}
_MODEL: Final = cast(Model, argparse.Namespace(lr_px=LR_PX, hr_px=HR_PX, largest_px=1.5 * LR_PX, name="x8"))
MODELS: Final = ModelSet([_MODEL], [_MODEL])


def toned(image: Image.Image, tone: str) -> Image.Image:
    """Returns an image in another tone."""
    return Image.fromarray(TONES[tone](np.asarray(image, np.float64)).clip(0, 255).round().astype(np.uint8))


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """Returns an image as JPEG stores it."""
    stored = io.BytesIO()
    image.save(stored, "JPEG", quality=quality)
    return Image.open(stored).convert("RGB")


class Sample(NamedTuple):
    """A sharp face and where it was found."""

    image: Image.Image
    found: Sequence[Detection]


def is_restored(image: Image.Image, face: Sample, mode: Mode) -> bool:
    """Returns whether the decision replaces the face, or one of them."""
    if mode == "auto":
        scale = np.float32(image.width / face.image.width)
        found = [each._replace(points=each.points * scale) for each in face.found]
        routing.detect_faces = lambda image, thorough: found
    else:
        routing.detect_faces = detect_faces
    try:
        return bool(routing.decide(ImageFile(image), MODELS, mode=mode).lr)
    except Rejected:  # no face was found: a copy
        return False


def share(faces: Sequence[Sample], change: Callable[[Image.Image], Image.Image], mode: Mode = "auto") -> str:
    """Returns the share of faces that are restored, in words."""
    count = sum(is_restored(change(face.image), face, mode) for face in faces)
    return f"{100 * count / len(faces):.1f} %"


def sharp_rows(faces: Sequence[Sample]) -> Iterator[list[str]]:
    """Yields the table of sharp faces that are taken for an enlarged LR."""
    yield ["sharp faces", "128 px", "JPEG 50", "enlarged to 300 px"]
    for tone in TONES:
        big = share(faces, lambda face, t=tone: toned(face, t).resize((300, 300), Image.Resampling.BICUBIC))  # type: ignore[misc]
        compressed = share(faces, lambda face, t=tone: jpeg(toned(face, t), 50))  # type: ignore[misc]
        yield [tone, share(faces, lambda face, t=tone: toned(face, t)), compressed, big]  # type: ignore[misc]


def enlarged(face: Image.Image, name: str, tone: str = "as it is", size: int = HR_PX) -> Image.Image:
    """Returns a face reduced to LR and enlarged by the filter `name`."""
    lr = face.resize((LR_PX, LR_PX), Image.Resampling.BICUBIC)
    return toned(lr, tone).resize((size, size), FILTERS[name])


def on_grey(face: Image.Image) -> Image.Image:
    """Returns a photograph of a face on grey, of another size."""
    canvas = Image.new("RGB", (240, 200), (128, 128, 128))
    canvas.paste(face, (60, 40))
    return canvas


def enlarged_rows(faces: Sequence[Sample]) -> Iterator[list[str]]:
    """Yields the table of enlarged LRs that are recognised."""
    changes: dict[str, Callable[[Image.Image, str], Any]] = {
        "128 px": enlarged,
        "JPEG 50": lambda face, name: jpeg(enlarged(face, name), 50),
        "dark": lambda face, name: enlarged(face, name, "dark, x0.35"),
        "dark, JPEG 50": lambda face, name: jpeg(enlarged(face, name, "dark, x0.35"), 50),
        "contrast x0.5, JPEG 50": lambda face, name: jpeg(enlarged(face, name, "contrast x0.5"), 50),
        "64 px": lambda face, name: enlarged(face, name, size=64),
        "300 px": lambda face, name: enlarged(face, name, size=300),
    }
    yield ["enlarged LR", *changes]
    for name in FILTERS:
        yield [name, *(share(faces, lambda face, c=change, n=name: c(face, n)) for change in changes.values())]  # type: ignore[misc]


def photograph_rows(faces: Sequence[Sample]) -> Iterator[list[str]]:
    """Yields the table of faces pasted into photographs that are restored; a face that is not found counts as not."""
    faces = faces[::_EVERY]
    yield ["in a photograph", f"restored, of {len(faces)}"]
    yield ["sharp", share(faces, on_grey, "photo")]
    for name in FILTERS:
        yield [f"enlarged LR, {name}", share(faces, lambda face, n=name: on_grey(enlarged(face, n)), "photo")]  # type: ignore[misc]


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--faces", type=int, default=100, help="faces of each folder, in a seeded order")
    options = parser.parse_args()
    faces = []
    for folder in options.folders:
        files = sorted(find_images(folder).images, key=lambda file: hashlib.sha256(file.name.encode()).digest())
        images = [Image.open(file).convert("RGB") for file in files[: options.faces]]
        faces += [Sample(image, detect_faces(image, thorough=True)[:1]) for image in images]
    print(f"{len(faces)} faces of {len(options.folders)} folders")
    for table in (sharp_rows, enlarged_rows, photograph_rows):
        print()
        for number, cells in enumerate(table(faces)):
            print(
                f"| {' | '.join(cells)} |", *(["|---" * len(cells) + "|"] if not number else []), sep="\n", flush=True
            )


if __name__ == "__main__":
    main()
