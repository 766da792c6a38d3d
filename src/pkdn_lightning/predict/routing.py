"""What an image is, and so what is to be done with it.

    lr        a face as small as the networks read them: it goes in as it is
    aligned   a face that fills its square, usually an enlarged LR; it is reduced to LR first
    photo     a photograph: faces are found, turned upright, reduced to LR, restored, and put back

`auto` distinguishes them by size and by detail: see `detail`. In doubt a face is left as it is.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pkdn_lightning.faces.crop import Box, DetectorCrop, LandmarkCrop, cut
from pkdn_lightning.faces.detection import Detection, check_detector, detect_faces
from pkdn_lightning.faces.rejection import Rejected
from pkdn_lightning.predict.alignment import snapped, tilt, turned_back, upright, why_not_frontal
from pkdn_lightning.predict.back_projection import fit_reduced
from pkdn_lightning.predict.detail import is_enlarged, is_enlarged_within
from pkdn_lightning.predict.image_file import ImageFile
from pkdn_lightning.predict.models import Model, ModelSet, for_size
from pkdn_lightning.values import check

Mode = Literal["auto", "lr", "aligned", "photo"]
WhichFaces = Literal["low_res", "all"]
LR = NDArray[np.uint8]

_LEAST_PX: Final = 8  # of a face that is taken for one unasked
_SMALL: Final = 2  # an image of at most this many times the smallest input is LR
_ENLARGED: Final = 4  # a square of at most this many times the network's output may be an enlarged LR
_SURELY_ENLARGED: Final = 2.5  # a sharp face of this many times the input is never taken for an enlarged LR
_OUTSIDE_AT_MOST: Final = 0.6  # share of a face's square beyond the photograph's border
_MOST_PIXELS: Final = 100_000_000  # of an enlarged photograph
_MOST_PIXELS_OF_A_FACE: Final = 4_000_000  # of what a network returns, which takes 2 GB of features
_LEAST_PHOTO_PX: Final = 12  # a detector finds nothing in less
_SURE: Final = 0.999  # least confidence in an upright face; the detector also finds some that lie on their side


LIES: Final = {90: "lies on its side", 180: "is upside down", 270: "lies on its side"}
"""How a photograph lies whose faces are turned by so many degrees."""


class Face(NamedTuple):
    """A face of a photograph.

    Attributes:
        box: Its square, before it is turned by `angle`.
        lr: The network's view of it, upright, (h, w, 3) uint8; empty if there is none.
        model: What restores it, or would have to.
        angle: By how many degrees it is turned clockwise around the square's centre; 0 if it is nearly upright.
        why_kept: Why it is not restored; empty if it is.
    """

    box: Box
    lr: LR
    model: Model
    angle: float = 0.0
    why_kept: str = ""


class Decision(NamedTuple):
    """What is to be done with an image.

    Attributes:
        mode: `lr`, `aligned` or `photo`.
        why: The reason, in words.
        lr: What goes through a network, each (h, w, 3) uint8: one image, or a photograph's faces to be restored.
        models: The model of each of them.
        faces: A photograph's faces, those left as they are among them.
        upscale: How many times larger the photograph becomes.
        turn: By how many degrees the photograph's faces were found to be turned clockwise: 0, 90, 180 or 270.
    """

    mode: Mode
    why: str
    lr: Sequence[LR]
    models: Sequence[Model]
    faces: Sequence[Face] = ()
    upscale: int = 1
    turn: int = 0


def decide(
    image: ImageFile, models: ModelSet, *, mode: Mode = "auto", faces: WhichFaces = "low_res", upscale: int = 1
) -> Decision:
    """Returns what is to be done with an image.

    Args:
        image: The image.
        models: Among which the size of a face decides.
        mode: What the image is, or `auto`.
        faces: `low_res` leaves faces of a photograph alone that have more detail than a network would see, or are seen
            from the side; `all` restores these, too, which costs what they have.
        upscale: How many times larger a photograph becomes.

    Raises:
        Rejected: If it cannot be restored; with the reason `no_face` if no face was found.
        ConfigError: If the face detector is needed and not installed, or an option is unknown.
    """
    check("mode", mode, Mode)
    check("faces", faces, WhichFaces)
    width, height = image.rgb.size
    if mode == "auto" and min(width, height) < _LEAST_PX:
        hint = f"too small for a face, which has {_LEAST_PX} px or more; mode=lr enlarges it nevertheless"
        raise Rejected("no_face", f"it is {width}x{height}: {hint}")
    if mode == "lr" or (mode == "auto" and max(width, height) <= _SMALL * models.small[0].lr_px):
        return _lr(image.rgb, models)
    enlarged = _enlarged(image.rgb, models)
    if mode == "aligned" or (mode == "auto" and enlarged):
        return _aligned(image.rgb, models, enlarged)
    return _photo(image.rgb, models, faces, upscale)


def reduce(image: Image.Image, lr_px: int, *, enlarged: bool) -> LR:
    """Returns the LR that a square image was enlarged from, or the plain bicubic reduction of one that was not.

    Reducing would smooth an enlarged image once more, so the remaining error is added by back-projection until the
    bicubic enlargement of the result is the image.
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
    return fit_reduced(np.asarray(image), np.asarray(plain))


def _enlarged(image: Image.Image, models: ModelSet) -> Model | None:
    """Returns the model that reads as many pixels as a face was enlarged from; None if it is no enlarged LR."""
    square = image.width == image.height <= _ENLARGED * models.hr_px
    fits = (each for each in models.small if each.lr_px < image.width and is_enlarged(image, each.lr_px))
    return next(fits, None) if square else None


def _lr(image: Image.Image, models: ModelSet) -> Decision:
    width, height = image.size
    model = models.for_lr(width, height)
    if width * height * model.scale**2 > _MOST_PIXELS_OF_A_FACE:
        size = f"{width * model.scale}x{height * model.scale}, more than {_MOST_PIXELS_OF_A_FACE:,} pixels"
        hint = "mode=lr is for a small picture of one face; for the faces in a photograph: mode=photo"
        raise Rejected("too_large", f"as one face of {width}x{height} it would become {size}. {hint}")
    step = model.step_px or 1  # the included models halve their input: odd sides are continued by their last pixels
    padding = ((0, -height % step), (0, -width % step), (0, 0))
    return Decision("lr", f"LR of {width}x{height}", [np.pad(np.asarray(image), padding, mode="edge")], [model])


def _aligned(image: Image.Image, models: ModelSet, enlarged: Model | None) -> Decision:
    if image.width != image.height:
        hint = "mode=aligned is for a face that fills a square. Crop it, or use mode=photo"
        raise Rejected("not_square", f"it is {image.width}x{image.height}; {hint}")
    model = enlarged or for_size(models.small, image.width) or models.small[-1]
    why = f"face of {image.width} px" + (f", an enlarged LR of {model.lr_px} px" if enlarged else "")
    return Decision("aligned", why, [reduce(image, model.lr_px, enlarged=enlarged is not None)], [model])


def _photo(image: Image.Image, models: ModelSet, which: WhichFaces, upscale: int) -> Decision:
    if image.width * image.height * upscale**2 > _MOST_PIXELS:
        size = f"{image.width * upscale}x{image.height * upscale}"
        raise Rejected("too_large", f"upscale={upscale} makes it {size}, more than {_MOST_PIXELS:,} pixels")
    found, turn = _detected(image)
    if not found:
        hint = "A face cut out as a square needs no detector: mode=aligned, or mode=lr for one as small as LR"
        raise Rejected("no_face", f"no face was found. {hint}")
    faces = [_face(image, detection, turn, models.photo, which) for detection in found]
    restored = [face for face in faces if not face.why_kept]
    sides = ", ".join(str(face.box.side) for face in faces[:5]) + (", ..." if len(faces) > 5 else "")
    why = f"photograph, {len(faces)} face{'s' if len(faces) > 1 else ''} ({sides} px), {len(restored)} restored"
    if turn:
        why += f", which {LIES[turn]}"
    if kept := Counter(face.why_kept for face in faces if face.why_kept):
        reasons = [reason if len(kept) == 1 else f"{number} {reason}" for reason, number in kept.most_common()]
        why += f", {kept.total()} left alone: {', '.join(reasons)}"
        why += "" if which == "all" else "; faces=all restores all"
    lr, chosen = [face.lr for face in restored], [face.model for face in restored]
    return Decision("photo", why, lr, chosen, faces, upscale, turn)


def _detected(image: Image.Image) -> tuple[list[Detection], int]:
    """Returns the faces and the angle of a photograph, which is turned if no face in it is surely upright."""
    check_detector("A photograph", "An image that is a face needs none: mode=aligned, or mode=lr for a small one.")
    if min(image.size) < _LEAST_PHOTO_PX:
        return [], 0
    upright_faces = detect_faces(image, thorough=True)
    if any(face.confidence >= _SURE for face in upright_faces):
        return upright_faces, 0
    tried = [(_surely_detected(image, turn), turn) for turn in _TURNS]
    best, turn = max(tried, key=lambda each: sum(face.confidence for face in each[0]))
    return (best, turn) if best else (upright_faces, 0)


def _surely_detected(image: Image.Image, turn: int) -> list[Detection]:
    turned = image.transpose(_TURNS[turn])
    found = [face for face in detect_faces(turned, thorough=True) if face.confidence >= _SURE]
    return [turned_back(face, turned.size, turn) for face in found]


_TURNS: Final = {  # counterclockwise
    90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270,
}  # fmt: skip


def _face(image: Image.Image, detection: Detection, turn: int, models: Sequence[Model], which: WhichFaces) -> Face:
    try:
        box = LandmarkCrop().box(image, detection.points)  # as the training faces are framed
        angle = snapped(tilt(detection.points)) % 360
    except Rejected:  # some points lie outside
        box, angle = DetectorCrop().around(detection), float(turn)
    try:
        cut(image, box, box.side, outside_at_most=_OUTSIDE_AT_MOST)
    except Rejected as reason:
        return Face(box, np.empty((0, 0, 3), np.uint8), models[0], angle, reason.detail)
    square = upright(image, box, angle)
    model = _model_of(square, box.side, models)
    chosen = model or models[-1]
    enlarged, px = _is_enlarged_from(square, box.side, chosen), chosen.input_px(box.side)
    if not enlarged and px != chosen.lr_px:  # the photograph's own pixels: networks restore interpolated ones worse
        box = Box.around(box.left + box.side / 2, box.top + box.side / 2, px)
        square = upright(image, box, angle)
    lr = reduce(square, chosen.lr_px if enlarged else px, enlarged=enlarged)
    why = "" if model else f"with more detail than the {chosen.lr_px} px that {chosen.name} reads"
    why = why_not_frontal(detection.points, turn) or why
    return Face(box, lr, chosen, angle, "" if which == "all" else why)


def _model_of(square: Image.Image, side: int, models: Sequence[Model]) -> Model | None:
    """Returns the model for a face of `side` pixels in its photograph; None if it has too much detail for all."""
    enlarged = next((each for each in models if _is_enlarged_from(square, side, each)), None)
    model = for_size(models, side)
    if model is None or (enlarged and enlarged.lr_px < model.lr_px):
        return enlarged
    return model


def _is_enlarged_from(square: Image.Image, side: int, model: Model) -> bool:
    least = model.lr_px + 1 if model.step_px is None else _SURELY_ENLARGED * model.lr_px
    return side >= least and is_enlarged_within(square, model.lr_px)
