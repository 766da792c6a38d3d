"""Optional metrics that are computed with a trained network.

    parsing    mean IoU of the parsing maps of SR and HR
    identity   cosine similarity of face embeddings (dlib)
    lpips      learned perceptual distance (Zhang et al., CVPR 2018), lower is better

A metric whose library or weights are missing is skipped with one message.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pkdn_lightning.config.instances import make
from pkdn_lightning.data.labels import LABELS
from pkdn_lightning.data.pixels import to_pixels
from pkdn_lightning.errors import ConfigError, did_you_mean
from pkdn_lightning.faces.parser import Parser
from pkdn_lightning.functional.colour import round_8bit

PerceptualMetric = Callable[[Tensor, Tensor], Tensor]
"""Takes SR and HR, (B, 3, H, W) in [0, 1], and returns a value per image, (B,); NaN where it is undefined."""


class MetricUnavailable(Exception):  # noqa: N818  # a metric is skipped, nothing fails
    """The library or weights of a metric are missing; the message says how to install them."""


def make_perceptual_metrics(
    names: Sequence[str], parser: Mapping[str, Any], say: Callable[[str], None], device: torch.device
) -> dict[str, PerceptualMetric]:
    """Returns the available ones of the named metrics, by their key in the results.

    Args:
        names: Any of `parsing`, `identity`, `lpips`.
        parser: Configuration of the parser for `parsing`.
        say: Called with a message for each metric that is not available.
        device: Where to compute; `lpips` only.

    Raises:
        ConfigError: If a name is unknown.
    """
    makers: dict[str, tuple[str, Callable[[], PerceptualMetric]]] = {
        "parsing": ("parsing_miou", lambda: _parsing(parser)),
        "identity": ("identity", Identity),
        "lpips": ("lpips", lambda: _lpips(device)),
    }
    metrics = {}
    for name in names:
        if name not in makers:
            raise ConfigError(f"extra={name} is not a metric.{did_you_mean(name, makers)} Known: {', '.join(makers)}.")
        key, maker = makers[name]
        try:
            metrics[key] = maker()
        except MetricUnavailable as reason:
            say(f"Without {name}: {reason}")
    return metrics


class ParsingAgreement:
    """Mean IoU of the parsing maps of SR and HR, per image.

    Args:
        parser: Parses both images.
    """

    def __init__(self, parser: Parser) -> None:
        self.parser = parser

    def __call__(self, sr: Tensor, hr: Tensor) -> Tensor:
        """Returns the mean IoU of each image, (B,)."""
        return torch.tensor(
            [mean_iou(made, true) for made, true in zip(self._parse(sr), self._parse(hr), strict=True)],
            dtype=torch.float64,
        )

    def _parse(self, faces: Tensor) -> list[Any]:
        images = list(to_pixels(faces))
        return self.parser.parse([str(number) for number in range(len(images))], images)


def mean_iou(made: NDArray[np.uint8], true: NDArray[np.uint8]) -> float:
    """Returns the intersection over union of two label maps, averaged over the classes that occur in either."""
    counts = np.bincount((true.astype(np.int64) * len(LABELS) + made).ravel(), minlength=len(LABELS) ** 2)
    table = counts.reshape(len(LABELS), len(LABELS))
    union = table.sum(0) + table.sum(1) - table.diagonal()
    return float((table.diagonal()[union > 0] / union[union > 0]).mean())


class Identity:
    """Cosine similarity of dlib's face embeddings of SR and HR; the face is located in HR.

    The weights come with the package face-recognition-models.

    Raises:
        MetricUnavailable: If dlib or the weights are not installed.
    """

    def __init__(self) -> None:
        models = find_spec("face_recognition_models")
        if models is None or find_spec("dlib") is None:
            raise MetricUnavailable("dlib is not installed: pip install 'pkdn-lightning[landmarks]'.")
        import dlib

        folder = Path(models.submodule_search_locations[0], "models")  # type: ignore[index]  # a package has locations
        self._detect = dlib.get_frontal_face_detector()
        self._landmarks = dlib.shape_predictor(str(folder / "shape_predictor_5_face_landmarks.dat"))
        self._embed = dlib.face_recognition_model_v1(str(folder / "dlib_face_recognition_resnet_model_v1.dat"))

    def __call__(self, sr: Tensor, hr: Tensor) -> Tensor:
        """Returns the similarity of each pair, (B,); NaN where dlib finds no face in HR."""
        found = [self._similarity(made, true) for made, true in zip(to_pixels(sr), to_pixels(hr), strict=True)]
        return torch.tensor(found, dtype=torch.float64)

    def _similarity(self, made: NDArray[np.uint8], true: NDArray[np.uint8]) -> float:
        boxes = self._detect(true, 1)
        if not boxes:
            return float("nan")
        shape = self._landmarks(true, max(boxes, key=lambda box: box.area()))
        a, b = (np.array(self._embed.compute_face_descriptor(image, shape)) for image in (made, true))
        return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def _parsing(parser: Mapping[str, Any]) -> PerceptualMetric:
    if not parser:
        raise MetricUnavailable("it needs a parser: parser=bisenet parser.weights=<file>.")
    return ParsingAgreement(make(parser, "parser"))


def _lpips(device: torch.device) -> PerceptualMetric:
    if find_spec("lpips") is None or find_spec("torchvision") is None:
        raise MetricUnavailable("it needs pip install lpips, and torchvision with its AlexNet weights.")
    try:
        import lpips

        net = lpips.LPIPS(net="alex", verbose=False).to(device).eval()
    except Exception as error:  # a failed download or an incompatible torchvision, with no common error type
        raise MetricUnavailable(
            f"it could not be set up ({type(error).__name__}: {str(error).splitlines()[0]})."
        ) from error

    def metric(sr: Tensor, hr: Tensor) -> Tensor:
        distances: Tensor = net(round_8bit(sr).float() * 2 - 1, hr.float() * 2 - 1)
        return distances.flatten().double()

    return metric


LOWER_IS_BETTER: Final = ("lpips",)
"""Metrics whose lower values are better."""
