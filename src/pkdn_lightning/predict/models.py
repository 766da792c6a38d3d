"""Which models restore: the one that was named, or the included ones, each for its size of faces."""

import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from pkdn_lightning.files import file_sha256
from pkdn_lightning.models.pretrained import DEFAULT, included_models
from pkdn_lightning.models.runtimes import Restorer, runtime_of

if TYPE_CHECKING:
    from omegaconf import DictConfig

_GPU_DRIVERS: Final = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # CUDA, ROCm, and CUDA in WSL
_INT8: Final = "_int8"  # behind the name of an included model in 8 bits
_HR_PX: Final = 128  # of the included models
_DIVISOR: Final = 16  # of the sides of what the included models return
_LARGEST: Final = 1.5  # a face of at most this many times the input gains, whatever detail it has
_LARGEST_OF_ALL: Final = 2.0  # the same for the included model with the largest input


@dataclass(frozen=True)
class Model:
    """A model, loaded when it restores its first face.

    Attributes:
        name: Its name for the user.
        lr_px: Side of the faces that it reads.
        hr_px: Side of the faces that it returns.
        largest_px: Side of the largest face that it restores whatever detail that has.
        file: Its file.
        load: Returns it; repeated calls return the same.
        step_px: It reads faces of any multiple of so many pixels up to `largest_px`; None if only those of `lr_px`.
    """

    name: str
    lr_px: int
    hr_px: int
    largest_px: float
    file: Path
    load: Callable[[], Restorer]
    step_px: int | None = None

    @property
    def scale(self) -> int:
        """Ratio of output to input size."""
        return self.hr_px // self.lr_px

    def input_px(self, side: int) -> int:
        """Returns the side at which it reads a face of `side` pixels: nearly that itself, which keeps its detail."""
        if self.step_px is None or side > self.largest_px:
            return self.lr_px
        return self.step_px * max(1, round(side / self.step_px))


class ModelSet(NamedTuple):
    """The models among which the size of a face decides, smallest input first: the named one, or all included ones.

    Attributes:
        small: For pictures that are one small face, clean or enlarged.
        photo: For faces in photographs.
        named: Whether the user named the model.
    """

    small: Sequence[Model]
    photo: Sequence[Model]
    named: bool = False

    @classmethod
    def of(cls, restorer: Restorer) -> "ModelSet":
        """Returns the set of one loaded model, which is called as its experiment."""
        shown = str(restorer.card.get("experiment") or restorer.path.name)
        largest = _LARGEST * restorer.lr_px
        only = [Model(shown, restorer.lr_px, restorer.hr_px, largest, restorer.path, lambda: restorer)]
        return cls(only, only, named=True)

    @property
    def hr_px(self) -> int:
        """Side of the faces that they return."""
        return self.small[0].hr_px

    def runtime(self) -> str:
        """Returns the runtime of the models, or the names of several with a plus sign."""
        return "+".join(sorted({runtime_of(model.file) for model in (*self.small, *self.photo)}))

    def sha256(self) -> str:
        """Returns the model's hash; of several models, the hash of theirs."""
        hashes = sorted({file_sha256(model.file) for model in (*self.small, *self.photo)})
        return hashes[0] if len(hashes) == 1 else sha256("".join(hashes).encode()).hexdigest()

    def for_lr(self, width: int, height: int) -> Model:
        """Returns the model for a picture that is one face, which goes in as it is."""
        fits = [each for each in self.small if all(px * each.scale % _DIVISOR == 0 for px in (width, height))]
        fits = fits or [*self.small]
        return for_size(fits, max(width, height)) or fits[-1]

    def better(self, model: Model, px: int, *, photo: bool) -> str:
        """Returns the included model that suits a face of `px` pixels better than a named one; empty if none does."""
        if not self.named or (included := included_set(_unused)) is None:
            return ""
        blind = photo or model.name in [each.name for each in included.photo]
        suited = for_size(included.photo if blind else included.small, px)
        return suited.name if suited and suited.lr_px != model.lr_px else ""


def for_size(models: Sequence[Model], px: int) -> Model | None:
    """Returns the first model for faces of `px` pixels; None if they are too large for all."""
    return next((each for each in models if px <= each.largest_px), None)


def choose_models(name: str, load: Callable[[str], Restorer], form: Callable[[str], str] = str) -> ModelSet:
    """Returns the included models for `default`, or the named one; included ones are loaded when they are needed.

    Args:
        name: See `models.runtimes.load_runtime`.
        load: Loads a model by its name.
        form: Returns in which form an included model is loaded; see `fastest_form`.
    """
    wanted = name.removesuffix(_INT8)
    included = included_set(load, form if wanted == name else lambda each: name if each == wanted else each)
    if included is None or name not in included_models():
        return ModelSet.of(load(name))
    if name == DEFAULT:
        return included
    named = next([model] for model in (*included.small, *included.photo) if model.name == wanted)
    return ModelSet(named, named, named=True)


def fastest_form(name: str, cfg: "DictConfig") -> str:
    """Returns the name of an included model in 8 bits where `runtime` means that one, else the name.

    `onnx` always means it, if the model comes in 8 bits; `auto` on CPUs with ONNX Runtime. Every included 8-bit file
    loses less than 0.03 dB (`loss_db` on its card), and restores the same faces on every processor.
    """
    small = f"{name}{_INT8}"
    if small not in included_models():
        return name
    fastest = cfg.runtime == "auto" and cfg.precision == "32" and _on_cpu(cfg.accelerator) and _has_onnx_runtime()
    return small if cfg.runtime == "onnx" or fastest else name


def _has_onnx_runtime() -> bool:
    """Returns whether ONNX Runtime can be imported: an installation may lack libraries of the system."""
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        return False
    return True


def _on_cpu(accelerator: str) -> bool:
    """Returns whether torch would compute on the CPU; asks it only if it is imported or there may be a GPU."""
    if accelerator == "auto" and ("torch" in sys.modules or os.name == "nt" or any(map(os.path.exists, _GPU_DRIVERS))):
        import torch

        return not torch.cuda.is_available()
    return accelerator in ("auto", "cpu")


def included_set(load: Callable[[str], Restorer], form: Callable[[str], str] = str) -> ModelSet | None:
    """Returns the included models: `portraits_x*`, and for photographs `photos_x*` where they are; None without any."""
    small, photo = (_included(kind, load, form) for kind in ("portraits", "photos"))
    return ModelSet(small, photo or small) if small else None


def _included(kind: str, load: Callable[[str], Restorer], form: Callable[[str], str]) -> list[Model]:
    files, found = included_models(), {}
    for name in files:
        if scale := re.fullmatch(rf"{kind}_x(\d+)", name):
            found[_HR_PX // int(scale[1])] = name, form(name)
    return [
        Model(name, px, _HR_PX, px * (_LARGEST_OF_ALL if px == max(found) else _LARGEST), files[loaded],
              cache(partial(load, loaded)), _DIVISOR * px // _HR_PX)
        for px, (name, loaded) in sorted(found.items())
    ]  # fmt: skip


def _unused(name: str) -> Restorer:
    raise AssertionError(f"{name} is only asked for its size")
