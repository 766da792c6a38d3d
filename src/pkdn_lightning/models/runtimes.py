"""Runs trained models in PyTorch, as a `torch.export` program (.pt2), or in ONNX Runtime.

A `Restorer` has the same interface for all of them.
"""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor

from pkdn_lightning.errors import CheckpointError, ConfigError, DeviceError, PKDNError, ShapeError
from pkdn_lightning.files import file_sha256
from pkdn_lightning.hardware import is_device_failure, is_out_of_memory
from pkdn_lightning.models.card import CARD_KEY, check_card
from pkdn_lightning.models.checkpoints import load_network, resolve_checkpoint
from pkdn_lightning.models.checksum import check_checksum
from pkdn_lightning.values import check

RuntimeName = Literal["torch", "onnx", "pt2"]
Precision = Literal["32", "bf16"]
_BY_SUFFIX: Final[Mapping[str, RuntimeName]] = {".onnx": "onnx", ".pt2": "pt2"}
_TRAINED_PX: Final = 128  # side of HR faces, for models without `size_px` in their card


@dataclass(frozen=True)
class Restorer:
    """A trained model in one of the runtimes.

    Attributes:
        restore: Takes LR faces in [0, 1], (B, 3, h, w) float32 on the CPU, and returns SR (B, 3, h * scale,
            w * scale) of the same type, not clamped.
        card: Description of the model; see `checkpoints.LoadedNetwork`.
        path: The model's file.
        sha256: The file's hash.
        runtime: Its runtime.
        size: Height and width that LR must have, or None for any size that the network accepts.
    """

    restore: Callable[[Tensor], Tensor]
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

    def __call__(self, lr: Tensor) -> Tensor:
        """Returns restored faces.

        Raises:
            ShapeError: If the model cannot take images of this size.
            ConfigError: If memory ran out.
            DeviceError: If the GPU failed.
        """
        if self.size is not None and tuple(lr.shape[-2:]) != self.size:
            raise ShapeError(
                f"LR is {lr.shape[-2]}x{lr.shape[-1]}, but {self.path.name} was exported for {self.size[0]}x"
                f"{self.size[1]} only. Use the model it was exported from for other sizes."
            )
        try:
            return self.restore(lr)
        except RuntimeError as error:
            raise _explained(error, lr) from error


def _explained(error: RuntimeError, lr: Tensor) -> PKDNError:
    """Returns what an error of torch means for a user: too little memory, a broken device, or a wrong input."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if is_out_of_memory(error):
        return ConfigError(f"Out of memory for LR of shape {tuple(lr.shape)}. Set a smaller batch_size.")
    if is_device_failure(error):
        return DeviceError(
            f"The GPU failed: {lines[0]}\nThe input is not the cause. Run the command again; if the error stays, "
            "compute on the CPU (accelerator=cpu) or check driver and GPU with nvidia-smi."
        )
    return ShapeError(f"The model cannot take LR of {lr.shape[-2]}x{lr.shape[-1]} pixels: {lines[0]}")


def load_runtime(
    model: str | Path,
    *,
    runtime: RuntimeName | Literal["auto"] = "auto",
    precision: Precision = "32",
    device: torch.device | None = None,
    trust: bool = False,
) -> Restorer:
    """Returns a trained model in a runtime.

    Args:
        model: See `load_model`; or a `.pt2` or `.onnx` file that the verb `export` wrote.
        runtime: `auto` chooses by the file's suffix.
        precision: `bf16` computes convolutions in bfloat16, faster on hardware that supports it; `torch` only.
        device: Where to compute; `torch` only. The CPU if None.
        trust: Allows a .pt2 file, which can run any code when it is read. The other formats hold no code.

    Raises:
        CheckpointError: If the model cannot be loaded, or is a .pt2 file without `trust`.
        ConfigError: If the model reads parsing maps, an extra is missing, or the options contradict each other.
    """
    check("runtime", runtime, RuntimeName | Literal["auto"])
    check("precision", precision, Precision)
    file = resolve_checkpoint(model)
    suffix = file.suffix
    chosen = _BY_SUFFIX.get(suffix, "torch") if runtime == "auto" else runtime
    if chosen != _BY_SUFFIX.get(suffix, "torch"):
        raise ConfigError(f"runtime={chosen} does not run {model}. Export it first: pkdn export model={model}")
    if chosen == "torch":
        return _torch_runtime(file, precision, device or torch.device("cpu"))
    if precision != "32":
        raise ConfigError(f"precision={precision} is for runtime=torch; the precision of an exported file is fixed.")
    if chosen == "pt2" and not trust:
        raise CheckpointError(
            f"{file} was not opened: a torch.export program (.pt2) can run any code when it is read.\n"
            "If you made it yourself or trust its origin, add trust=true. Run folders, .ckpt, .safetensors and .onnx "
            "files hold no code and need no trust."
        )
    check_checksum(file)
    return _onnx_runtime(file) if chosen == "onnx" else _pt2_runtime(file)


def flip_ensemble(restore: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Returns a restorer that averages the results of each face and of its mirror image, mirrored back.

    Reference:
        Lim et al., "Enhanced Deep Residual Networks" (EDSR), CVPRW 2017, section 3.4; two of its eight views,
        because faces are upright.
    """

    def restored(lr: Tensor) -> Tensor:
        return (restore(lr) + restore(lr.flip(-1)).flip(-1)) / 2

    return restored


def _torch_runtime(model: Path, precision: Precision, device: torch.device) -> Restorer:
    loaded = load_network(model)
    if loaded.net.uses_parsing:
        raise ConfigError(
            f"{model} is a {type(loaded.net).__name__}, which reads the parsing map of the true face and cannot "
            "restore unknown faces. Use a student."
        )
    net = loaded.net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # stub

    @torch.inference_mode()
    def restore(lr: Tensor) -> Tensor:
        # autocast, not .bfloat16(): bicubic enlargement and the sums around it stay in float32.
        context = torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
        with context:
            sr: Tensor = net(lr.to(device)).sr
        return sr.float().cpu()

    return Restorer(restore, loaded.card, loaded.path, loaded.sha256, "torch")


def _pt2_runtime(file: Path) -> Restorer:
    try:
        _refuse_pickles(file)
        extra = {CARD_KEY: ""}
        program = torch.export.load(file, extra_files=extra)
        size = fixed_size(program)
    except CheckpointError:
        raise
    except Exception as error:  # torch's readers raise various errors for damaged archives
        raise CheckpointError(f"{file} cannot be read: it is truncated or not a torch.export program.") from error
    net = program.module()

    @torch.inference_mode()
    def restore(lr: Tensor) -> Tensor:
        try:
            return net(lr)
        except AssertionError as error:  # raised for sides that the network cannot divide
            raise RuntimeError(str(error)) from error

    return Restorer(restore, _card(extra[CARD_KEY], file), file, file_sha256(file), "pt2", size)


def fixed_size(program: torch.export.ExportedProgram) -> tuple[int, int] | None:
    """Returns the height and width that a program's only input must have, or None if it takes any."""
    [name] = program.graph_signature.user_inputs
    [shape] = [node.meta["val"].shape for node in program.graph.nodes if node.name == name]
    height, width = (str(side) for side in shape[2:])  # a fixed side may still be a symbol
    return (int(height), int(width)) if height.isdigit() and width.isdigit() else None


def _refuse_pickles(file: Path) -> None:
    """Rejects a program whose archive holds pickles of anything but tensors: torch.export would execute them."""
    refused = CheckpointError(f"{file} holds more than tensors and was not opened: reading it could run code.")
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        configs = [name for name in names if name.endswith(("weights_config.json", "constants_config.json"))]
        if not configs:
            raise CheckpointError(f"{file} is not a program that this package exported and was not opened.")
        if any(part in name for name in names for part in ("/aotinductor/", "/custom_obj", "/opaque_obj")):
            raise refused
        for name in configs:
            for entry in json.loads(archive.read(name))["config"].values():
                if entry.get("use_pickle") or not entry["path_name"].startswith(("weight_", "tensor_")):
                    raise refused
        for name in (name for name in names if name.endswith(".pt")):  # the inputs of the trace
            try:
                torch.load(io.BytesIO(archive.read(name)), weights_only=True)
            except Exception as error:  # torch.export would read it without this protection
                raise refused from error


def onnx_session(file: Path) -> Any:
    """Returns a session of ONNX Runtime on the CPU with as many threads as torch has.

    Raises:
        CheckpointError: If the file is not an ONNX model.
        ConfigError: If the extra is missing.
    """
    try:
        import onnxruntime
    except ImportError:
        raise ConfigError("ONNX Runtime is an extra: pip install 'pkdn-lightning[export]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # errors are in the exceptions
    try:
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no base
        raise CheckpointError(f"{file} cannot be read: it is truncated or not an ONNX model.") from error


def _onnx_runtime(file: Path) -> Restorer:
    session = onnx_session(file)
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type != "tensor(float)" or len(outputs) != 1:
        found = ", ".join(f"{each.name} {each.shape} {each.type}" for each in inputs)
        raise CheckpointError(f"{file} has the inputs {found or 'none'}; expected (B, 3, h, w) float, and one output.")
    sides = inputs[0].shape[2:]
    size = (sides[0], sides[1]) if all(isinstance(side, int) for side in sides) else None

    def restore(lr: Tensor) -> Tensor:
        try:
            (sr,) = session.run(None, {inputs[0].name: lr.numpy()})
        except Exception as error:  # as above
            raise RuntimeError(str(error)) from error
        return torch.from_numpy(sr)

    card = _card(session.get_modelmeta().custom_metadata_map.get(CARD_KEY, ""), file)
    return Restorer(restore, card, file, file_sha256(file), "onnx", size)


def _card(text: str | bytes, file: Path) -> dict[str, Any]:
    try:
        card = json.loads(text)
    except ValueError:
        raise CheckpointError(
            f"{file} has no description of its model (no entry '{CARD_KEY}'). Export it with pkdn export."
        ) from None
    return check_card(card, file)
