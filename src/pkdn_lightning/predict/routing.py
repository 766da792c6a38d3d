"""What an image is, and so what is to be done with it.

    lr        a face as small as the network reads them: it goes in as it is
    aligned   a face that fills its square, usually an enlarged LR; it is reduced to LR first
    photo     a photograph: faces are found, reduced to LR, restored, and put back

`auto` distinguishes them by size and by detail: see `detail`. In doubt a face is left as it is.
"""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pkdn_lightning.data.pixels import to_pixels, to_tensor
from pkdn_lightning.faces.crop import Box, DetectorCrop, LandmarkCrop, cut
from pkdn_lightning.faces.detection import Detection, check_detector, detect_faces
from pkdn_lightning.faces.rejection import Rejected
from pkdn_lightning.functional.resize import bicubic
from pkdn_lightning.models.runtimes import Restorer
from pkdn_lightning.predict.detail import is_enlarged, is_enlarged_within
from pkdn_lightning.predict.image_file import ImageFile
from pkdn_lightning.values import check

Mode = Literal["auto", "lr", "aligned", "photo"]
WhichFaces = Literal["low_res", "all"]

_SMALL: Final = 2  # an image of at most this many times the network's input is LR
_SMALL_FACE: Final = 1.5  # a face of at most this many times the network's input gains, whatever detail it has
_ENLARGED: Final = 4  # a square of at most this many times the network's output may be an enlarged LR
_OUTSIDE_AT_MOST: Final = 0.6  # share of a face's square beyond the photograph's border
_MOST_PIXELS: Final = 100_000_000  # of an enlarged photograph
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


def decide(
    image: ImageFile, restorer: Restorer, *, mode: Mode = "auto", faces: WhichFaces = "low_res", upscale: int = 1
) -> Decision:
    """Returns what is to be done with an image.

    Args:
        image: The image.
        restorer: Whose input and output sizes count.
        mode: What the image is, or `auto`.
        faces: `low_res` leaves faces of a photograph alone that have more detail than the network would see; `all`
            restores these, too, which costs what they have.
        upscale: How many times larger a photograph becomes.

    Raises:
        Rejected: If it cannot be restored; with the reason `no_face` if no face was found.
        ConfigError: If the face detector is needed and not installed, or an option is unknown.
    """
    check("mode", mode, Mode)
    check("faces", faces, WhichFaces)
    width, height = image.rgb.size
    if mode == "lr" or (mode == "auto" and max(width, height) <= _SMALL * restorer.lr_px):
        return Decision("lr", f"LR of {width}x{height}", [np.asarray(image.rgb)])
    enlarged = restorer.lr_px < width == height <= _ENLARGED * restorer.hr_px and is_enlarged(image.rgb, restorer.lr_px)
    if mode == "aligned" or (mode == "auto" and enlarged):
        return _aligned(image.rgb, restorer, enlarged=enlarged)
    return _photo(image.rgb, restorer, faces, upscale)


def reduce(image: Image.Image, lr_px: int, *, enlarged: bool) -> NDArray[np.uint8]:
    """Returns the LR that a square image was enlarged from, or the plain bicubic reduction of one that was not.

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
    if not enlarged:
        return np.asarray(plain)
    original, found = to_tensor([np.asarray(image)]), to_tensor([np.asarray(plain)])
    for _ in range(4):
        found = found + bicubic(original - bicubic(found, image.size[::-1]), size)
    return to_pixels(found)[0]


def _aligned(image: Image.Image, restorer: Restorer, *, enlarged: bool) -> Decision:
    if image.width != image.height:
        hint = "mode=aligned is for a face that fills a square. Crop it, or use mode=photo"
        raise Rejected("not_square", f"it is {image.width}x{image.height}; {hint}")
    why = f"face of {image.width} px" + (f", an enlarged LR of {restorer.lr_px} px" if enlarged else "")
    return Decision("aligned", why, [reduce(image, restorer.lr_px, enlarged=enlarged)])


def _photo(image: Image.Image, restorer: Restorer, which: WhichFaces, upscale: int) -> Decision:
    if image.width * image.height * upscale**2 > _MOST_PIXELS:
        size = f"{image.width * upscale}x{image.height * upscale}"
        raise Rejected("too_large", f"upscale={upscale} makes it {size}, more than {_MOST_PIXELS:,} pixels")
    found = _detected(image)
    if not found:
        hint = "If the image is a face: mode=aligned, or mode=lr for one as small as LR"
        raise Rejected("no_face", f"no face was found. {hint}")
    faces = [_face(image, detection, restorer, which) for detection in found]
    restored = [face for face in faces if not face.why_kept]
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
    enlarged = box.side > restorer.lr_px and is_enlarged_within(square, restorer.lr_px)
    lr = reduce(square, restorer.lr_px, enlarged=enlarged)
    if which == "all" or enlarged or box.side <= _SMALL_FACE * restorer.lr_px:
        return Face(box, lr)
    return Face(box, lr, f"more detail than the network's {restorer.lr_px} px hold")
