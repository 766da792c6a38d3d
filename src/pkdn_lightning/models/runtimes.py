"""Runs trained models in PyTorch, as a `torch.export` program (.pt2), or in ONNX Runtime.

A `Restorer` has the same interface for all of them: NumPy arrays. Only `torch_runtimes` imports torch, which takes more
than a second, so that a model in ONNX Runtime starts without it.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from pkdn_lightning.errors import CheckpointError, ConfigError, DeviceError, PKDNError, ShapeError
from pkdn_lightning.files import file_sha256
from pkdn_lightning.models.card import CARD_KEY, check_card
from pkdn_lightning.models.checksum import check_checksum
from pkdn_lightning.models.pretrained import resolve_checkpoint
from pkdn_lightning.values import check

RuntimeName = Literal["torch", "onnx", "pt2"]
Precision = Literal["32", "bf16"]
Faces = NDArray[np.float32]
"""Faces (B, 3, h, w), nominally in [0, 1]."""
Restore = Callable[[Faces], Faces]
_BY_SUFFIX: Final[Mapping[str, RuntimeName]] = {".onnx": "onnx", ".pt2": "pt2"}
_TRAINED_PX: Final = 128  # side of HR faces, for models without `size_px` in their card


@dataclass(frozen=True)
class Restorer:
    """A trained model in one of the runtimes.

    Attributes:
        restore: Takes LR faces in [0, 1], (B, 3, h, w) float32, and returns SR (B, 3, h * scale, w * scale) of the
            same type, not clamped.
        card: Description of the model; see `checkpoints.LoadedNetwork`.
        path: The model's file.
        sha256: The file's hash.
        runtime: Its runtime.
        size: Height and width that LR must have, or None for any size that the network accepts.
    """

    restore: Restore
    card: Mapping[str, Any]
    path: Path
    sha256: str
    runtime: RuntimeName
    size: tuple[int, int] | None = None

    @property
    def scale(self) -> int:
        """Ratio of SR to LR size."""
        return int(self.card["scale"])

    @property
    def hr_px(self) -> int:
        """Side of HR faces in training."""
        return int(self.card.get("size_px", _TRAINED_PX))

    @property
    def lr_px(self) -> int:
        """Side of LR faces in training."""
        return self.hr_px // self.scale

    def __call__(self, lr: Faces) -> Faces:
        """Returns restored faces.

        Raises:
            ShapeError: If the model cannot take images of this size.
            ConfigError: If memory ran out.
            DeviceError: If the GPU failed.
        """
        if self.size is not None and lr.shape[-2:] != self.size:
            raise ShapeError(
                f"LR is {lr.shape[-2]}x{lr.shape[-1]}, but {self.path.name} was exported for {self.size[0]}x"
                f"{self.size[1]} only. Use the model it was exported from for other sizes."
            )
        try:
            return self.restore(lr)
        except RuntimeError as error:
            raise _explained(error, lr) from error


def _explained(error: RuntimeError, lr: Faces) -> PKDNError:
    """Returns what an error of torch means for a user: too little memory, a broken device, or a wrong input."""
    from pkdn_lightning.hardware import is_device_failure, is_out_of_memory

    lines = str(error).strip().splitlines() or [type(error).__name__]
    if is_out_of_memory(error):
        return ConfigError(f"Out of memory for LR of shape {tuple(lr.shape)}. Set a smaller batch_size.")
    if is_device_failure(error):
        return DeviceError(
            f"The GPU failed: {lines[0]}\nThe input is not the cause. Run the command again; if the error stays, "
            "compute on the CPU (accelerator=cpu) or check driver and GPU with nvidia-smi."
        )
    sides = "its network needs sides that it can halve. Crop or pad the image to even sides, or to multiples of 8"
    reason = sides if "ONNXRuntimeError" in lines[0] and any(side % 8 for side in lr.shape[-2:]) else lines[0]
    return ShapeError(f"The model cannot take LR of {lr.shape[-2]}x{lr.shape[-1]} pixels: {reason}")


def load_runtime(
    model: str | Path,
    *,
    runtime: RuntimeName | Literal["auto"] = "auto",
    precision: Precision = "32",
    accelerator: str = "cpu",
    threads: int | None = None,
    trust: bool = False,
) -> Restorer:
    """Returns a trained model in a runtime.

    Args:
        model: See `load_model`; or a `.pt2` or `.onnx` file that the verb `export` wrote.
        runtime: `auto` chooses by the file's suffix.
        precision: `bf16` computes convolutions in bfloat16, faster on hardware that supports it; `torch` only.
        accelerator: Where to compute, `cpu`, `gpu` or `auto`; `torch` only.
        threads: CPU threads; None leaves the choice to the runtime.
        trust: Allows a .pt2 file, which can run any code when it is read. The other formats hold no code.

    Raises:
        CheckpointError: If the model cannot be loaded, or is a .pt2 file without `trust`.
        ConfigError: If the model reads parsing maps, an extra is missing, or the options contradict each other.
    """
    check("runtime", runtime, RuntimeName | Literal["auto"])
    check("precision", precision, Precision)
    file = resolve_checkpoint(model)
    suffix = file.suffix
    chosen = runtime_of(file) if runtime == "auto" else runtime
    if chosen != runtime_of(file):
        way = f"Leave runtime={chosen} out" if suffix in _BY_SUFFIX else f"Export it first: pkdn export model={model}"
        raise ConfigError(f"runtime={chosen} does not run {model}. {way}")
    if chosen == "torch":
        from pkdn_lightning.models.torch_runtimes import torch_runtime

        return torch_runtime(file, precision, accelerator, threads)
    if precision != "32":
        raise ConfigError(f"precision={precision} is for runtime=torch; the precision of an exported file is fixed.")
    if chosen == "pt2" and not trust:
        raise CheckpointError(
            f"{file} was not opened: a torch.export program (.pt2) can run any code when it is read.\n"
            "If you made it yourself or trust its origin, add trust=true. Run folders, .ckpt, .safetensors and .onnx "
            "files hold no code and need no trust."
        )
    check_checksum(file)
    if chosen == "onnx":
        return _onnx_runtime(file, threads)
    from pkdn_lightning.models.torch_runtimes import pt2_runtime

    return pt2_runtime(file, threads)


def runtime_of(file: Path) -> RuntimeName:
    """Returns the runtime of a model's file, by its suffix."""
    return _BY_SUFFIX.get(file.suffix, "torch")


def flip_ensemble(restore: Restore) -> Restore:
    """Returns a restorer that averages the results of each face and of its mirror image, mirrored back.

    Reference:
        Lim et al., "Enhanced Deep Residual Networks" (EDSR), CVPRW 2017, section 3.4; two of its eight views,
        because faces are upright.
    """

    def restored(lr: Faces) -> Faces:
        return (restore(lr) + restore(lr[..., ::-1].copy(order="K"))[..., ::-1]) / np.float32(2)

    return restored


def onnx_session(file: Path, threads: int | None = None) -> Any:
    """Returns a session of ONNX Runtime on the CPU.

    Args:
        file: The model.
        threads: CPU threads; None takes as many as torch would.

    Raises:
        CheckpointError: If the file is not an ONNX model.
        ConfigError: If the extra is missing or cannot be imported.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise ConfigError("ONNX Runtime is an extra: pip install 'pkdn-lightning[export]'") from None
    except ImportError as error:
        raise ConfigError(
            f"ONNX Runtime is installed, but cannot be imported: {error}\n"
            "Install it again: pip install --force-reinstall onnxruntime"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or _cores()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads take no time of others
    options.log_severity_level = 4  # errors are in the exceptions
    try:
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no base
        raise CheckpointError(f"{file} cannot be read: it is truncated or not an ONNX model.") from error


def _onnx_runtime(file: Path, threads: int | None) -> Restorer:
    session = onnx_session(file, threads)
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type != "tensor(float)" or len(outputs) != 1:
        found = ", ".join(f"{each.name} {each.shape} {each.type}" for each in inputs)
        raise CheckpointError(f"{file} has the inputs {found or 'none'}; expected (B, 3, h, w) float, and one output.")
    sides = inputs[0].shape[2:]
    size = (sides[0], sides[1]) if all(isinstance(side, int) for side in sides) else None

    def restore(lr: Faces) -> Faces:
        try:
            sr: Faces = session.run(None, {inputs[0].name: lr})[0]
        except Exception as error:  # as above
            raise RuntimeError(str(error)) from error
        return sr

    card = card_of(session.get_modelmeta().custom_metadata_map.get(CARD_KEY, ""), file)
    return Restorer(restore, card, file, file_sha256(file), "onnx", size)


def _cores() -> int:
    """Returns how many threads torch would take; ONNX Runtime's own choice ignores the process's limits."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(told) if told.isdecimal() else allowed


def card_of(text: str | bytes, file: Path) -> dict[str, Any]:
    """Returns the card that an exported file holds as JSON.

    Raises:
        CheckpointError: If there is none, or it is damaged.
    """
    try:
        card = json.loads(text)
    except ValueError:
        raise CheckpointError(
            f"{file} has no description of its model (no entry '{CARD_KEY}'). Export it with pkdn export."
        ) from None
    return check_card(card, file)
