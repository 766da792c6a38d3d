"""What an image is, and so what is to be done with it.

    lr        a face as small as the network reads them: it goes in as it is
    aligned   a face that fills its square, usually an enlarged LR; it is reduced to LR first
    photo     a photograph: faces are found, reduced to LR, restored, and put back

`auto` distinguishes them by size and by the detail lost when the image is reduced to the network's input and enlarged
again: an enlarged LR loses nearly nothing, a sharp face loses most of its detail.
"""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pkdn_lightning.data.pixels import to_pixels, to_tensor
from pkdn_lightning.errors import ConfigError, did_you_mean
from pkdn_lightning.faces.crop import Box, DetectorCrop, LandmarkCrop, cut
from pkdn_lightning.faces.detection import Detection, check_detector, detect_faces
from pkdn_lightning.faces.rejection import Rejected
from pkdn_lightning.functional.resize import bicubic
from pkdn_lightning.models.runtimes import Restorer
from pkdn_lightning.predict.image_file import ImageFile

Mode = Literal["auto", "lr", "aligned", "photo"]
WhichFaces = Literal["low_res", "all"]

LITTLE_LOST_DB: Final = 28.0
"""What an image keeps at least on the way down to LR and up again, if it holds no more detail than LR.

Of 300 faces of CelebA and US Congress, those enlarged from 16 px (bicubic, bilinear, Lanczos, nearest, JPEG 50) keep
30.7 dB and more; sharp ones 26.6 dB and less.
"""

_SMALL: Final = 2  # an image of at most this many times the network's input is LR
_SMALL_FACE: Final = 1.5  # a face of at most this many times the network's input gains, whatever detail it has
_ENLARGED: Final = 4  # a square of at most this many times the network's output may be an enlarged LR
_OUTSIDE_AT_MOST: Final = 0.6  # share of a face's square beyond the photograph's border
_MOST_PIXELS: Final = 100_000_000
_LEAST_PHOTO_PX: Final = 12  # a detector finds nothing in less


class Face(NamedTuple):
    """A face of a photograph.

    Attributes:
        box: Its square.
        lr: The network's view of it, (h, w, 3) uint8.
        why_kept: Why it is not restored; empty if it is.
    """

    box: Box
    lr: NDArray[np.uint8]
    why_kept: str = ""


class Decision(NamedTuple):
    """What is to be done with an image.

    Attributes:
        mode: `lr`, `aligned` or `photo`.
        why: The reason, in words.
        lr: What goes through the network, each (h, w, 3) uint8: one image, or a photograph's faces to be restored.
        faces: A photograph's faces, those left as they are among them.
        upscale: How many times larger the photograph becomes.
    """

    mode: Mode
    why: str
    lr: Sequence[NDArray[np.uint8]]
    faces: Sequence[Face] = ()
    upscale: int = 1


def check_choice(key: str, value: str, choices: Sequence[str]) -> None:
    """Checks that an option is one of its choices.

    Raises:
        ConfigError: If it is not.
    """
    if value not in choices:
        raise ConfigError(f"{key}={value} is none of {', '.join(choices)}.{did_you_mean(value, choices)}")


def decide(
    image: ImageFile,
    restorer: Restorer,
    *,
    mode: Mode = "auto",
    faces: WhichFaces = "low_res",
    upscale: int | None = None,
) -> Decision:
    """Returns what is to be done with an image.

    Args:
        image: The image.
        restorer: Whose input and output sizes count.
        mode: What the image is, or `auto`.
        faces: `low_res` leaves faces of a photograph alone that have more detail than the network would see; `all`
            restores these, too, which costs what they have.
        upscale: How many times larger a photograph becomes; None fits the network's output to the faces' size.

    Raises:
        Rejected: If there is nothing to restore in it.
        ConfigError: If the face detector is needed and not installed, or an option is unknown.
    """
    check_choice("mode", mode, get_args(Mode))
    check_choice("faces", faces, get_args(WhichFaces))
    width, height = image.rgb.size
    if mode == "lr" or (mode == "auto" and max(width, height) <= _SMALL * restorer.lr_px):
        return Decision("lr", f"LR of {width}x{height}", [np.asarray(image.rgb)])
    if mode == "aligned":
        return _aligned(image.rgb, restorer)
    if mode == "auto" and width == height <= _ENLARGED * restorer.hr_px:
        kept = round_trip_db(image.rgb, restorer.lr_px)
        if kept >= LITTLE_LOST_DB:
            return _aligned(image.rgb, restorer, f", keeps {kept:.1f} dB when reduced to {restorer.lr_px} px")
    return _photo(image.rgb, restorer, faces, upscale)


def round_trip_db(image: Image.Image, lr_px: int) -> float:
    """Returns the PSNR (RGB, dB) that an image keeps when it is reduced to `lr_px` and enlarged again.

    The better of bicubic and of blocks: nearest neighbours make blocks, which bicubic would smooth.
    """
    filters = ((Image.Resampling.BICUBIC,) * 2, (Image.Resampling.BOX, Image.Resampling.NEAREST))
    again = [image.resize((lr_px, lr_px), down).resize(image.size, up) for down, up in filters]
    error = min(float(np.square(np.asarray(image, np.float64) - np.asarray(each)).mean()) for each in again)
    return float(10 * np.log10(255**2 / max(error, 1e-6)))


def reduce(image: Image.Image, lr_px: int) -> NDArray[np.uint8]:
    """Returns the LR that a square image was enlarged from, or the plain bicubic reduction of one with more detail.

    Reducing would smooth an enlarged image once more, so the remaining error is added a few times (back-projection,
    Irani and Peleg 1991) until the bicubic enlargement of the result is the image.
    """
    size = (lr_px, lr_px)
    if image.size == size:
        return np.asarray(image)
    blocks = image.resize(size, Image.Resampling.BOX)
    if np.array_equal(np.asarray(blocks.resize(image.size, Image.Resampling.NEAREST)), np.asarray(image)):
        return np.asarray(blocks)
    plain = image.resize(size, Image.Resampling.BICUBIC)
    if round_trip_db(image, lr_px) < LITTLE_LOST_DB:
        return np.asarray(plain)
    original, found = to_tensor([np.asarray(image)]), to_tensor([np.asarray(plain)])
    for _ in range(4):
        found = found + bicubic(original - bicubic(found, image.size[::-1]), size)
    return to_pixels(found)[0]


def _aligned(image: Image.Image, restorer: Restorer, why: str = "") -> Decision:
    if image.width != image.height:
        hint = "mode=aligned is for a face that fills a square. Crop it, or use mode=photo"
        raise Rejected("not_square", f"it is {image.width}x{image.height}; {hint}")
    return Decision("aligned", f"face of {image.width} px{why}", [reduce(image, restorer.lr_px)])


def _photo(image: Image.Image, restorer: Restorer, which: WhichFaces, upscale: int | None) -> Decision:
    found = _detected(image)
    if not found:
        hint = "If the image is a face: mode=aligned, or mode=lr for one as small as LR"
        raise Rejected("no_face", f"no face was found. {hint}")
    faces = [_face(image, detection, restorer, which) for detection in found]
    restored = [face for face in faces if not face.why_kept]
    if upscale is None:
        upscale = _fitting(image.size, [face.box.side for face in restored], restorer)
    sides = ", ".join(str(face.box.side) for face in faces[:5]) + (", ..." if len(faces) > 5 else "")
    why = f"photograph, {len(faces)} face{'s' if len(faces) > 1 else ''} ({sides} px), {len(restored)} restored"
    if kept := [face.why_kept for face in faces if face.why_kept]:
        why += f", {len(kept)} left alone: {kept[0]}; faces=all restores all"
    return Decision("photo", why, [face.lr for face in restored], faces, upscale)


def _detected(image: Image.Image) -> list[Detection]:
    check_detector("A photograph", "An image that is a face needs none: mode=aligned, or mode=lr for a small one.")
    return detect_faces(image, thorough=True) if min(image.size) >= _LEAST_PHOTO_PX else []


def _face(image: Image.Image, detection: Detection, restorer: Restorer, which: WhichFaces) -> Face:
    try:
        box = LandmarkCrop().box(image, detection.points)  # as the training faces are framed
    except Rejected:  # some points lie outside
        box = DetectorCrop().around(detection)
    try:
        square = Image.fromarray(cut(image, box, box.side, outside_at_most=_OUTSIDE_AT_MOST))
    except Rejected as reason:
        return Face(box, np.empty((0, 0, 3), np.uint8), reason.detail)
    lr = reduce(square, restorer.lr_px)
    if which == "low_res" and box.side > _SMALL_FACE * restorer.lr_px:
        kept = round_trip_db(square, restorer.lr_px)
        if kept < LITTLE_LOST_DB:
            return Face(box, lr, f"more detail than the network's {restorer.lr_px} px hold ({kept:.1f} dB)")
    return Face(box, lr)


def _fitting(size: tuple[int, int], sides: Sequence[int], restorer: Restorer) -> int:
    """Returns the enlargement of a photograph at which restored faces are about as large as the network makes them."""
    if not sides:
        return 1
    wanted = int(restorer.hr_px / float(np.median(sides)))
    possible = int((_MOST_PIXELS / (size[0] * size[1])) ** 0.5)
    return max(1, min(wanted, possible, restorer.scale))
