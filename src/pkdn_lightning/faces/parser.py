"""Parsing maps of faces by BiSeNet.

Importing this module does not import torch: the worker processes that read images import it too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pkdn_lightning.console import console
from pkdn_lightning.data.labels import ORDERS
from pkdn_lightning.data.remote import fetch, is_remote
from pkdn_lightning.errors import CheckpointError, ConfigError, DataError, ShapeError
from pkdn_lightning.faces.rejection import Rejected
from pkdn_lightning.faces.sides import repair_sides
from pkdn_lightning.files import file_sha256
from pkdn_lightning.values import Count, Range, Threads

if TYPE_CHECKING:
    import torch

    from pkdn_lightning.faces.bisenet_cpu import Logits
    from pkdn_lightning.networks.bisenet import BiSeNet

Precision = Literal["auto", "float32", "bfloat16", "float16", "int8"]

_CALIBRATION_FACES: Final = 16  # they determine the ranges of 8-bit values

PUBLIC_SHA256: Final = "468e13ca13a9b43cc0881a9f99083a430e9c0a38abd935431d1c28ee94b26567"
"""The public BiSeNet weights: 79999_iter.pth of zllrunning/face-parsing.PyTorch."""
_LEAST_PX: Final = 32  # the network halves its input five times
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, per channel of RGB


class Parser(Protocol):
    """What makes parsing maps."""

    def parse(self, names: Sequence[str], faces: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8] | Rejected]:
        """Returns one parsing map per face, or why there is none.

        Args:
            names: `split/name` of each face.
            faces: (S, S, 3) uint8 RGB each, all of one size.

        Returns:
            (S, S) uint8 label ids in the order of `LABELS` each.
        """

    def provenance(self) -> dict[str, Any]:
        """Returns plain values that say how the maps are made, for the manifest."""


class BiSeNetParser:
    """Parses faces with BiSeNet.

    The public weights reach a pixel accuracy of 0.951 and a mean IoU of 0.720 on 99 faces of CelebAMask-HQ of 128 px
    (0.690 without `repair_sides`); the slow tests of tests/faces/test_parser.py measure it.

    Args:
        weights: A state dict of `networks.bisenet.BiSeNet`: a file or a URL.
        sha256: Expected hash of the weights, by default that of the public ones. None accepts any file.
        input_px: Side the faces are resized to for the network. The public weights need 512: at 256 they lose a third
            of their mean IoU.
        batch_size: Faces per forward pass on a GPU; on a CPU it is one, which is faster.
        device: `auto` takes a CUDA device if there is one; otherwise torch's names: `cpu`, `cuda`, `cuda:1`.
        precision: `auto` is float16 on CUDA and float32 elsewhere. `int8` is for CPUs: ONNX Runtime, calibrated on the
            faces given to `calibrate`; 0.4 of the time of float32, 0.2 % other labels.
        repair_sides: See `repair_sides`.
        threads: CPU threads of the network; None leaves torch's setting.

    Raises:
        ConfigError: If `weights` is not set, or an argument has no meaning.
        DataError: If the file does not exist.
    """

    def __init__(
        self,
        *,
        weights: str | None,
        sha256: str | None = PUBLIC_SHA256,
        input_px: Annotated[int, Range(_LEAST_PX)] = 512,
        batch_size: Count = 8,
        device: str = "auto",
        precision: Precision = "auto",
        repair_sides: bool = True,
        threads: Threads | None = None,
    ) -> None:
        if weights is None:
            raise ConfigError(
                "parser.weights is not set: parser=bisenet needs BiSeNet's weights, which no package brings along.\n"
                "The public ones are 79999_iter.pth of zllrunning/face-parsing.PyTorch (53,289,463 bytes,\n"
                f"SHA-256 {PUBLIC_SHA256}).\n"
                "Then: parser=bisenet parser.weights=<file>. Or parser=none to go without parsing maps."
            )
        if not is_remote(weights) and not Path(weights).expanduser().is_file():
            raise DataError(f"There is no file {Path(weights).expanduser()} (parser.weights).")
        self.weights, self.sha256 = weights, sha256.lower() if sha256 else None
        self.input_px, self.batch_size = input_px, batch_size
        self.device, self.precision = device, precision
        self.repair_sides, self.threads = repair_sides, threads
        self._calibration: NDArray[np.uint8] | None = None

    def calibrate(self, faces: Iterable[NDArray[np.uint8]]) -> None:
        """Draws faces, (S, S, 3) uint8 RGB each, that determine the ranges of 8-bit values; none for other precisions.

        Without this call, `parse` takes the faces of its first call, so that maps depend on which were parsed first.
        """
        if self.precision == "int8" and (drawn := list(islice(faces, _CALIBRATION_FACES))):
            self._calibration = np.stack(drawn)

    def parse(self, names: Sequence[str], faces: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8] | Rejected]:
        """Returns the parsing maps, (S, S) uint8 each. The first call loads the weights.

        The same faces give the same bytes; on a GPU, in the same batches. Other devices or numbers of threads may
        change pixels where two classes are equally likely.

        Args:
            names: Unused.
            faces: (S, S, 3) uint8 RGB each.

        Raises:
            DataError: If the weights' hash is not `sha256`.
            CheckpointError: If the file holds no state dict, or that of another network.
            ConfigError: If there is no such device.
            ShapeError: If a face is not square, or not of the size of the others.
        """
        for face in faces:
            if face.shape != faces[0].shape or face.ndim != 3 or face.shape[2] != 3 or len(set(face.shape[:2])) > 1:
                raise ShapeError(f"Expected square RGB faces of one size, got {faces[0].shape} and {face.shape}.")
        if self._calibration is None:
            self.calibrate(faces)
        maps: list[NDArray[np.uint8] | Rejected] = []
        batch = 1 if self._resolved[0].type == "cpu" else self.batch_size
        for start in range(0, len(faces), batch):
            maps += self._parse_batch(np.stack(faces[start : start + batch]))
        return maps

    def provenance(self) -> dict[str, Any]:
        """Returns parser, weights, sizes, options and the runtime."""
        return {
            "parser": "bisenet",
            "weights_sha256": self.sha256 or self._file[1],
            "input_px": self.input_px,
            "precision": self._resolved[1],
            "runtime": "onnxruntime" if self.precision == "int8" else "torch",
            "repair_sides": self.repair_sides,
        }

    def _parse_batch(self, faces: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        import torch

        with torch.inference_mode(), _reproducible(self.threads):
            logits = self._logits(self._images(faces), faces.shape[1])
            classes: NDArray[np.int64] = logits.argmax(1).cpu().numpy()
        maps = np.array(ORDERS["bisenet"], dtype=np.uint8)[classes]
        return [repair_sides(labels) if self.repair_sides else labels for labels in maps]

    def _images(self, faces: NDArray[np.uint8]) -> torch.Tensor:
        """Returns what the network reads, (B, 3, input_px, input_px)."""
        import torch
        import torch.nn.functional as F

        from pkdn_lightning.data.pixels import to_tensor

        device, size_px = self._resolved[0], faces.shape[1]
        images = to_tensor(faces).to(device)
        if size_px != self.input_px:
            # Bicubic: on enlarged faces it parses better than bilinear (mean IoU 0.690 against 0.678).
            images = F.interpolate(images, self.input_px, mode="bicubic", antialias=size_px > self.input_px)
        mean, deviation = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (_MEAN, _DEVIATION))
        return ((images.clamp(0, 1) - mean) / deviation).contiguous(memory_format=torch.channels_last)

    @cached_property
    def _logits(self) -> Logits:
        """The network in the form that suits device and precision."""
        import torch

        from pkdn_lightning.faces.bisenet_cpu import in_8_bits, in_float32

        device, precision = self._resolved
        if precision == "int8":
            assert self._calibration is not None  # `parse` sees to it
            console.print(f"BiSeNet in 8 bits: calibrating on {len(self._calibration)} faces, a minute")
            with torch.inference_mode(False), torch.no_grad():
                return in_8_bits(self._net, self._images(self._calibration))
        if (device.type, precision) == ("cpu", "float32"):
            return in_float32(self._net)
        return partial(_eager, self._net, precision)

    @cached_property
    def _file(self) -> tuple[Path, str]:
        """The weights' file, checked, and its hash."""
        weights = self.weights
        file = fetch(weights, sha256=self.sha256) if is_remote(weights) else Path(weights).expanduser()
        if (found := file_sha256(file)) != (self.sha256 or found):
            raise DataError(
                f"{file} ({file.stat().st_size:,} bytes) is not the file that was expected (parser.weights).\n"
                f"SHA-256 found:    {found}\n"
                f"SHA-256 expected: {self.sha256}\n"
                "Fetch it again. If these weights are meant: parser.sha256=null, or the hash that was found."
            )
        return file, found

    @cached_property
    def _resolved(self) -> tuple[torch.device, str]:
        """The device, and the precision that suits it."""
        import torch

        best = "cuda" if torch.cuda.is_available() else "cpu"
        name = best if self.device == "auto" else self.device
        try:
            device = torch.device(name)
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:  # AssertionError: a torch built without CUDA
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"parser.device={self.device} cannot be used here: {reason}\n"
                "parser.device=auto takes the best device available."
            ) from error
        if self.precision == "int8":
            from pkdn_lightning.models.onnx_int8 import check_onnx

            check_onnx("parser.precision=auto")
            if device.type != "cpu":
                raise ConfigError(
                    f"parser.precision=int8 is for CPUs, and the device is {device}. A GPU is faster in float16: "
                    "parser.precision=auto. To parse on the CPU: parser.device=cpu"
                )
        best = "float16" if device.type == "cuda" else "float32"
        return device, best if self.precision == "auto" else self.precision

    @cached_property
    def _net(self) -> BiSeNet:
        import torch

        from pkdn_lightning.models.checkpoints import load_weights
        from pkdn_lightning.networks.bisenet import BiSeNet

        file, _ = self._file
        with torch.device("meta"):  # no initial values: every one is about to be replaced
            net = BiSeNet()
        net.to_empty(device="cpu")
        load_weights(net, _state_dict(file), file)
        # channels_last: the layout in which the convolutions are fastest.
        return net.eval().to(self._resolved[0], memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub forgets both together


def _state_dict(file: Path) -> dict[str, torch.Tensor]:
    import torch

    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's readers raise various errors for files that are no checkpoints
        raise CheckpointError(
            f"{file} ({file.stat().st_size:,} bytes, parser.weights) cannot be read: it is not a file of weights, is "
            "truncated, or holds more than tensors, which could run code."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise CheckpointError(
            f"{file} (parser.weights) holds no state dict: expected tensors by name, as "
            "torch.save(BiSeNet().state_dict(), file) writes them."
        )
    return state


def _eager(net: torch.nn.Module, precision: str, images: torch.Tensor, size_px: int) -> torch.Tensor:
    import torch
    import torch.nn.functional as F

    half = precision != "float32"
    with torch.autocast(images.device.type, getattr(torch, precision) if half else None, enabled=half):
        logits: torch.Tensor = net(images)
    if size_px <= images.shape[-1]:
        # The centre of each pixel: the corner costs 0.03 of mean IoU, averaging the logits gains nothing.
        return F.interpolate(logits, size_px, mode="nearest-exact")
    return F.interpolate(logits.float(), size_px, mode="bilinear")


@contextmanager
def _reproducible(threads: int | None) -> Iterator[None]:
    """Fixes the number of CPU threads and cuDNN's choice of algorithms, and puts both back afterwards."""
    import torch

    before = torch.get_num_threads()
    cudnn = torch.backends.cudnn
    choice = cudnn.benchmark, cudnn.deterministic
    torch.set_num_threads(threads or before)
    cudnn.benchmark, cudnn.deterministic = False, True
    try:
        yield
    finally:
        torch.set_num_threads(before)
        cudnn.benchmark, cudnn.deterministic = choice
