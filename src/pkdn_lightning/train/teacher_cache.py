"""The faces of a student's teacher, computed once for all trainings on a store: `teacher.cache=true`.

They are kept in float16. The teacher's output is not limited to [0, 1], which 8 bits would clip; and 8 bits round by up
to 0.002, which is no longer small beside the distance of a trained student to its teacher. Float16 rounds values in
[0, 1] by at most 0.00024, less than bfloat16, in which teachers run under `bf16-mixed`, by a factor of 8.
"""

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig

from pkdn_lightning.console import ProgressLines, console
from pkdn_lightning.data.batches import Plan
from pkdn_lightning.data.datamodule import FaceSRDataModule
from pkdn_lightning.errors import CheckpointError, ConfigError
from pkdn_lightning.files import exclusive, file_sha256, read_json, whole_file, write_json
from pkdn_lightning.hardware import full_float32
from pkdn_lightning.losses import Objective
from pkdn_lightning.models.checkpoints import LoadedNetwork
from pkdn_lightning.modules import FrozenTeacher
from pkdn_lightning.train.teacher_lookup import input_spec

_DETERMINISTIC = ("pil", "matlab")


def check_cacheable(cfg: DictConfig, objective: Objective) -> None:
    """Checks that the teacher's output of a training face is the same at every step, and that its face is enough.

    Raises:
        ConfigError: If it is not; the message says what to set.
    """
    data = cfg.data
    views = [f"data.augmentation.{name}" for name, value in data.augmentation.items() if value]
    problems = {
        f"the objective's {', '.join(objective.feature_terms)} may read the teacher's features": (
            objective.feature_terms, " ".join(f"objective.{name}.weight=0" for name in objective.feature_terms),
        ),
        f"{', '.join(views)} changes the faces at every step": (views, " ".join(f"{key}=0" for key in views)),
        f"data.degradation={data.degradation} may change the faces at every step": (
            data.degradation not in _DETERMINISTIC, "degradation=bicubic",
        ),
        "data.parsing_damage=other gives a face another map in every batch": (
            data.parsing_damage == "other", "data.parsing_damage=none",
        ),
    }  # fmt: skip
    for problem, (found, remedy) in problems.items():
        if found:
            raise ConfigError(
                f"teacher.cache=true computes the teacher's face of each training face once, but {problem}.\n"
                f"Set {remedy}, or teacher.cache=false."
            )


def teacher_faces(
    cfg: DictConfig, teacher: LoadedNetwork, datamodule: FaceSRDataModule, device: torch.device
) -> NDArray[np.float16]:
    """Returns the teacher's faces of the training split, memory-mapped; computes them if they are missing or damaged.

    The file is beside the store and named after a hash of teacher, store and input. Of several jobs, one computes it
    and the others wait.

    Args:
        cfg: The student's configuration, which `check_cacheable` accepted.
        teacher: The teacher.
        datamodule: The student's data.
        device: Where to compute.

    Returns:
        (N, V, 3, S, S) in the order of the training rows; V is 2 if faces are mirrored (as they are, mirrored), else 1.

    Raises:
        ConfigError: If the file cannot be written.
        CheckpointError: If the teacher returns values that are not finite.
    """
    store, views = datamodule.store, 2 if datamodule.flip_probability else 1
    inputs = input_spec(cfg, reads_maps=teacher.net.uses_parsing)
    key = {"teacher": teacher.sha256, "store": store.sha256, "views": views, **inputs}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    place = store.path.absolute()
    file = place.with_name(f"{place.name}.teacher-{digest}.npy")
    shape = (len(store.indices("train")), views, 3, store.size_px, store.size_px)
    try:
        if _fault(file, shape):
            with exclusive(file, "computes"):
                if fault := _fault(file, shape):  # no other job has computed it in the meantime
                    size = f"{2 * np.prod(shape) / 1e6:,.0f} MB"
                    console.print(f"{fault} Computing the teacher's {shape[0]:,} x {views} faces: {file} ({size})")
                    _compute(file, shape, teacher, datamodule, device)
                    write_json(_stamp(file), {"of": key, "sha256": file_sha256(file), "state": _state(file)})
    except OSError as error:
        raise ConfigError(
            f"The teacher's faces cannot be kept beside the store ({error}).\nMake room or copy the store to a folder "
            "that can be written to (data.store=<copy>), or set teacher.cache=false."
        ) from error
    faces: NDArray[np.float16] = np.load(file, mmap_mode="r", allow_pickle=False)
    return faces


def _compute(
    file: Path, shape: tuple[int, ...], teacher: LoadedNetwork, datamodule: FaceSRDataModule, device: torch.device
) -> None:
    """Writes the file in order, because a full disk stops a process that writes to a memory map without a message."""
    frozen, rows, size = FrozenTeacher(teacher.net), datamodule.store.indices("train"), datamodule.eval_batch_size
    frozen.to(device)
    lines = ProgressLines("The teacher's faces", len(rows))
    with whole_file(file) as temporary, temporary.open("wb") as opened, full_float32():
        np.lib.format.write_array_header_1_0(opened, {"descr": "<f2", "fortran_order": False, "shape": shape})
        for start in range(0, len(rows), size):
            chosen = rows[start : start + size]
            plans = [Plan(chosen, np.full(len(chosen), mirrored)) for mirrored in (False, True)[: shape[1]]]
            faces = torch.stack([frozen(datamodule.batch(plan, device)).sr for plan in plans], 1).half()
            if not torch.isfinite(faces).all():
                raise CheckpointError(f"The teacher {teacher.path} returns values that are not finite. Train another.")
            opened.write(faces.contiguous().cpu().numpy().tobytes())
            lines.update(start + len(chosen))
    frozen.to(torch.device("cpu"))


def _fault(file: Path, shape: tuple[int, ...]) -> str:
    """Returns why a file cannot be used, a sentence; empty if it can be."""
    if not file.is_file():
        return "They were not computed before."
    stamp, again = read_json(_stamp(file)), "so it is computed again."
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except Exception:  # NumPy raises various errors for files that are no arrays
        return f"{file} is no array, or a part of one, {again}"
    if array.shape != shape or array.dtype != np.float16:
        return f"{file} holds {array.dtype} of shape {array.shape}, expected float16 of shape {shape}, {again}"
    if stamp.get("state") == _state(file):
        return ""
    if stamp.get("sha256") != file_sha256(file):
        return f"{file} has changed since it was written, {again}"
    with contextlib.suppress(OSError):  # in a read-only folder it is hashed each time
        write_json(_stamp(file), {**stamp, "state": _state(file)})
    return ""


def _stamp(file: Path) -> Path:
    return file.with_suffix(".json")


def _state(file: Path) -> list[Any]:
    status = file.stat()
    return [status.st_size, status.st_mtime_ns]
