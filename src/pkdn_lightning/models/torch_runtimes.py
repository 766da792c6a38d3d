"""The runtimes that compute with torch: a network in PyTorch, and a `torch.export` program."""

import io
import json
import zipfile
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor

from pkdn_lightning.errors import CheckpointError, ConfigError
from pkdn_lightning.files import file_sha256
from pkdn_lightning.hardware import set_up
from pkdn_lightning.models.card import CARD_KEY
from pkdn_lightning.models.checkpoints import load_network
from pkdn_lightning.models.runtimes import Faces, Precision, Restorer, card_of


def torch_runtime(model: Path, precision: Precision, accelerator: str, threads: int | None) -> Restorer:
    """Returns a checkpoint's network in PyTorch; see `runtimes.load_runtime`."""
    device = set_up(threads=threads, accelerator=accelerator)
    loaded = load_network(model)
    if loaded.net.uses_parsing:
        raise ConfigError(
            f"{model} is a {type(loaded.net).__name__}, which reads the parsing map of the true face and cannot "
            "restore unknown faces. Use a student."
        )
    net = loaded.net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # stub

    @torch.inference_mode()
    def restore(lr: Faces) -> Faces:
        # autocast, not .bfloat16(): bicubic enlargement and the sums around it stay in float32.
        context = torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
        with context:
            sr: Tensor = net(torch.from_numpy(lr).to(device)).sr
        found: Faces = sr.float().cpu().numpy()
        return found

    return Restorer(restore, loaded.card, loaded.path, loaded.sha256, "torch")


def pt2_runtime(file: Path, threads: int | None) -> Restorer:
    """Returns a `torch.export` program on the CPU; see `runtimes.load_runtime`."""
    set_up(threads=threads, accelerator="cpu")
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
    def restore(lr: Faces) -> Faces:
        try:
            found: Faces = net(torch.from_numpy(lr)).numpy()
        except AssertionError as error:  # raised for sides that the network cannot divide
            raise RuntimeError(str(error)) from error
        return found

    return Restorer(restore, card_of(extra[CARD_KEY], file), file, file_sha256(file), "pt2", size)


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
