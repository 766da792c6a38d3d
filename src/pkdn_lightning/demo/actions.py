"""The actions behind the page: open an upload, find and restore its faces, assemble the photograph.

They do not depend on Gradio.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pkdn_lightning.data.pixels import to_pixels, to_tensor
from pkdn_lightning.demo.examples import known_map
from pkdn_lightning.demo.limits import Deadline, Limits
from pkdn_lightning.demo.restorers import Models
from pkdn_lightning.errors import DataError, PKDNError
from pkdn_lightning.faces.crop import Box
from pkdn_lightning.faces.rejection import Rejected
from pkdn_lightning.models.runtimes import Faces, Restore
from pkdn_lightning.predict.alignment import upright
from pkdn_lightning.predict.detail import is_enlarged
from pkdn_lightning.predict.image_file import ImageFile
from pkdn_lightning.predict.models import Model, ModelSet
from pkdn_lightning.predict.paste import assemble
from pkdn_lightning.predict.restore import restore_all
from pkdn_lightning.predict.routing import LIES, Decision, Face, Mode, decide

_FACES_AT_A_TIME = 8  # the deadline is checked between batches
_DETECTING = Lock()  # the detector is shared and not thread-safe

Pixels = NDArray[np.uint8]


class RestoredFace(NamedTuple):
    """A face with its restorations.

    Attributes:
        lr: The input of the models, (h, w, 3).
        model: The first student's model for it.
        sr: Each student's result, (H, W, 3), by the student's name.
        hr: The original face, (H, W, 3), if it has more detail than `lr`.
        parsing: The parsing map of `hr`, (H, W) label ids, if there is a teacher and a map.
        taught: The teacher's result for `lr` and `parsing`.
        box: Its position in the photograph.
        angle: Its angle there, in degrees, clockwise.
    """

    lr: Pixels
    model: Model
    sr: Mapping[str, Pixels]
    hr: Pixels | None = None
    parsing: Pixels | None = None
    taught: Pixels | None = None
    box: Box | None = None
    angle: float = 0.0


@dataclass(frozen=True)
class Result:
    """The result for an image.

    Attributes:
        mode: The detected kind of image: `lr`, `aligned` or `photo`.
        said: A description for the user.
        faces: One, or those of a photograph, largest first.
        upscale: Enlargement of a photograph.
    """

    mode: Mode
    said: str
    faces: Sequence[RestoredFace]
    upscale: int = 1

    @property
    def low_res(self) -> list[int]:
        """Indices of the faces without an original of more detail; only these gain from restoration."""
        return [number for number, face in enumerate(self.faces) if face.hr is None]


def open_upload(file: Path, limits: Limits) -> ImageFile:
    """Returns an uploaded image.

    Raises:
        Rejected: If it is not an image, damaged, or too large. The message is for the user and does not contain the
            file's path.
    """
    too_large = f"The image is too large: the limit is {limits.megapixels:g} megapixels. Reduce it first."
    if not file.is_file():
        raise Rejected("missing", "The image was deleted. Please upload it again.")
    if file.stat().st_size > limits.upload_mb * 1e6:
        raise Rejected("too_large", f"The file is too large: the limit is {limits.upload_mb:g} MB.")
    try:
        with Image.open(file) as header:  # reads the header; nothing is decoded before the size check
            pixels = header.width * header.height
    except Image.DecompressionBombError as error:
        raise Rejected("too_large", too_large) from error
    except Exception:  # ImageFile.open below has a better message
        pixels = 0
    if pixels > limits.megapixels * 1e6:
        raise Rejected("too_large", too_large)
    try:
        return replace(ImageFile.open(file), exif=b"", others={})  # for privacy: time and place
    except Rejected as rejected:
        words = rejected.detail.replace(str(file), "The file")
        raise Rejected(
            rejected.reason, f"{words.rstrip('.')}. Upload an image: JPEG, PNG, WebP, TIFF, BMP or GIF."
        ) from rejected


def restore_image(image: ImageFile, models: Models, limits: Limits, mode: Mode = "auto") -> Result:
    """Returns the faces of an image, restored by every model.

    Args:
        image: The image.
        models: The models.
        limits: Limits of faces and time.
        mode: Kind of image; see `predict.routing`. Examples are recognised.

    Raises:
        Rejected: If it has no face to restore.
        PKDNError: If a model cannot process it, or the time limit is exceeded.
    """
    deadline = Deadline(limits.request_s)
    candidates = models.first
    if mode == "auto" and known_map(np.asarray(image.rgb)) is not None:
        mode, candidates = "aligned", candidates._replace(small=candidates.small[:1])  # the smallest input shows most
    with _DETECTING:
        deadline.check()
        decision = _decision(image, candidates, mode)
    faces = [face for face in decision.faces if face.lr.size] if decision.mode == "photo" else []
    if decision.mode == "photo":
        if not faces:
            raise Rejected("outside", "Too little of the face lies within the image to restore it.")
        given = [
            RestoredFace(face.lr, face.model, {}, _sharp(image, face), box=face.box, angle=face.angle)
            for face in faces[: limits.faces]
        ]
    else:
        given = [RestoredFace(decision.lr[0], decision.models[0], {}, _original(image, decision))]
    restored = _restored(given, models, deadline)
    result = [_taught(face._replace(sr=sr), models, deadline) for face, sr in zip(given, restored, strict=True)]
    return Result(decision.mode, _words(decision, result, len(faces), image, models), result, decision.upscale)


def _decision(image: ImageFile, candidates: ModelSet, mode: Mode) -> Decision:
    """Returns what is to be done with an image.

    Raises:
        Rejected: If there is nothing to restore, in words for a visitor instead of a command's options.
    """
    try:
        return decide(image, candidates, mode=mode)
    except Rejected as rejected:
        raise Rejected(rejected.reason, _WORDS.get(rejected.reason, _NOTHING_FOUND)) from rejected
    except PKDNError as error:  # the face detector is not installed
        raise Rejected("no_detector", _WORDS["no_detector"]) from error


_NOTHING_FOUND: Final = "There is nothing in the image that can be restored. Try another one."
_WORDS: Final[Mapping[str, str]] = {
    "no_face": "No face was found. If a face fills the image, choose “A face fills it”; if it is a very small image "
    "of a face, “A tiny face”.",
    "not_square": "The image is not square. Crop it to the face, or choose “A photograph”.",
    "no_detector": "This page cannot find faces in photographs. Upload a square image that a face fills, and choose “A "
    "face fills it”.",
}


def _sharp(image: ImageFile, face: Face) -> Pixels | None:
    """Returns a photograph's face at the size of the results, if it is left alone."""
    if not face.why_kept:
        return None
    return _resized(upright(image.rgb, face.box, face.angle), len(face.lr) * face.model.scale)


def _original(image: ImageFile, decision: Decision) -> Pixels | None:
    """Returns an aligned face at the size of the results, if it has more detail than its model's input."""
    model = decision.models[0]
    if decision.mode != "aligned" or is_enlarged(image.rgb, model.lr_px):
        return None
    return _resized(image.rgb, model.hr_px)


def _resized(square: Image.Image, side: int) -> Pixels:
    return np.asarray(square.resize((side, side), Image.Resampling.BICUBIC))


def _restored(faces: Sequence[RestoredFace], models: Models, deadline: Deadline) -> list[dict[str, Pixels]]:
    """Returns each student's result for each face; a second student is one model."""

    def in_time(restore: Restore, lr: Faces) -> Faces:
        deadline.check()
        return restore(lr)

    restored: list[dict[str, Pixels]] = [{} for _ in faces]
    for student in models.students:
        chosen = [face.model if student is models.students[0] else student.models.small[0] for face in faces]
        by_model = {model: partial(in_time, model.load()) for model in set(chosen)}
        given = [(by_model[model], face.lr) for model, face in zip(chosen, faces, strict=True)]
        for own, face, result in zip(restored, faces, restore_all(given, _FACES_AT_A_TIME), strict=True):
            if isinstance(result, DataError):  # it took too long
                raise result
            if isinstance(result, PKDNError):
                size = f"{face.lr.shape[1]}×{face.lr.shape[0]}"
                raise Rejected("size", f"The model cannot restore an image of this size ({size} pixels).") from result
            own[student.name] = result
    return restored


def _taught(face: RestoredFace, models: Models, deadline: Deadline) -> RestoredFace:
    """Returns a face with the teacher's result, if there is a teacher and a map of the face."""
    if models.teacher is None or face.hr is None:
        return face
    deadline.check()
    parsing = models.maps.of(face.hr)
    if parsing is None:
        return face
    taught = models.teacher.restore(to_tensor([face.lr]), torch.from_numpy(parsing.astype(np.int64))[None])
    return face._replace(parsing=parsing, taught=to_pixels(taught)[0])


def _words(decision: Decision, faces: Sequence[RestoredFace], found: int, image: ImageFile, models: Models) -> str:
    """Returns a description of the result for the user."""
    sees = f"{faces[0].model.lr_px}×{faces[0].model.lr_px} pixels"
    if decision.mode == "lr":
        words = [f"A face of {image.rgb.width}×{image.rgb.height} pixels, restored as it is."]
    elif decision.mode == "aligned" and faces[0].hr is None:
        words = [f"An enlarged face: it has no more detail than {sees} and was restored from these."]
    elif decision.mode == "aligned":
        words = [
            f"A sharp face, reduced to {sees} and restored from these, so that you can compare it with the original."
        ]
    else:
        words = _words_of_photo(faces, found)
        if decision.turn:
            words.append(
                f"The photograph {LIES[decision.turn]}: its faces were turned upright, restored and turned back."
            )
    if models.teacher is not None and any(face.hr is not None and face.taught is None for face in faces):
        words.append("The teacher needs a parsing map. Only the example faces have one here.")
    return " ".join([*words, *(f"Read as: {note}." for note in image.notes)])


def _words_of_photo(faces: Sequence[RestoredFace], found: int) -> list[str]:
    small = sum(face.hr is None for face in faces)
    sharp = len(faces) - small
    words = [f"A photograph with {found} face{'s' if found > 1 else ''}."]
    if found > len(faces):
        words.append(f"Only the {len(faces)} largest were restored.")
    if small:
        words.append(f"{small} small one{'s' if small > 1 else ''} restored and pasted back.")
    if sharp:
        words.append(
            f"{'One is' if sharp == 1 else f'{sharp} are'} sharp enough or seen from the side, and left as "
            f"{'it is' if sharp == 1 else 'they are'}; below for comparison only."
        )
    return words


def whole_image(
    image: ImageFile, result: Result, chosen: Sequence[int], student: str, strength: float = 1.0
) -> ImageFile:
    """Returns a photograph with some of its faces restored.

    Args:
        image: The photograph.
        result: Its result.
        chosen: Indices of the faces to paste back.
        student: Name of the student.
        strength: Share of the restored faces in the result, 0 to 1; the rest is the original.
    """
    faces = [result.faces[number] for number in sorted(set(chosen)) if number < len(result.faces)]
    placed = [Face(face.box, face.lr, face.model, face.angle) for face in faces if face.box is not None]
    lr, restoring = [face.lr for face in faces], [face.model for face in faces]
    decision = Decision("photo", "", lr, restoring, placed, result.upscale)
    return assemble(image, decision, [face.sr[student] for face in faces], strength)
