"""The base of all training modules: training, validation and test steps, optimiser, checkpoints.

Subclasses override `teacher_output` and `loss`. Checkpoints hold plain values and tensors only, so they load with
`weights_only=True`.
"""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import lightning.pytorch as lightning
import torch
from lightning.fabric.plugins.precision.amp import _optimizer_handles_unscaling
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.utilities import GradClipAlgorithmType
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pkdn_lightning.data.batches import Batch
from pkdn_lightning.errors import ConfigError, TrainingError
from pkdn_lightning.losses import Objective, Progress, Reconstruction
from pkdn_lightning.metrics.collection import face_sr_metrics
from pkdn_lightning.models.checkpoints import CARD_KEY, load_network, read_checkpoint
from pkdn_lightning.networks.contract import SRNetwork, SROutput, require_keys, require_output

_LENGTH_KEY: Final = "schedule_steps"
_SHAPES_PER_BLOCK: Final = 64  # beyond PyTorch's limit of 8, blocks run eagerly: teacher and student share classes
MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
MakeScheduler = Callable[..., LRScheduler]
PAPER_ADAM: Final[MakeOptimizer] = partial(torch.optim.Adam, lr=1e-4, betas=(0.9, 0.99))
"""The optimiser of `recipe=paper`, that of KDFSRNet."""


_INPUT: Final = {"encoding": "colour", "degradation": "pil"}  # of the `FaceSRDataModule`, unless it says otherwise


class SRModule(lightning.LightningModule):
    """Trains one super-resolution network.

    Batches are mappings with the keys of `data.batches.Batch` that the network and the objective read, from any
    DataLoader.

    Args:
        net: The network.
        objective: The losses; L1 to the ground truth (Eq. 1) by default.
        make_optimizer: Returns an optimiser of the parameters of `net` and `objective`; Adam as in `recipe=paper` by
            default.
        make_scheduler: Returns a learning-rate scheduler for the optimiser and `total_steps`; None keeps the rate.
        channels_last: Uses the channels-last memory format for the weights, faster on most hardware.
        card: Further plain values for the card in checkpoints, e.g. `experiment`, or `encoding` and `degradation` of
            batches that do not come from a `FaceSRDataModule`; see `models.card`. The network's class and arguments
            are always there, so that `load_model` and `load_from_checkpoint` can rebuild it.

    Raises:
        ConfigError: If the network cannot be described by plain values.
    """

    def __init__(
        self,
        net: SRNetwork,
        objective: Objective | None = None,
        make_optimizer: MakeOptimizer = PAPER_ADAM,
        make_scheduler: MakeScheduler | None = None,
        *,
        channels_last: bool = False,
        card: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.net = net.to(memory_format=layout)  # type: ignore[call-overload]  # stub lacks this form
        self.objective = objective or Objective({"sr": (1.0, Reconstruction())})
        self.card = {**(card or {}), "network": _spec(net), "scale": net.scale}
        self._make_optimizer, self._make_scheduler = make_optimizer, make_scheduler
        self._val_metrics = face_sr_metrics()
        self._test_metrics = nn.ModuleDict()
        self._all_finite: Tensor | None = None
        self._last_norms: tuple[int, dict[str, Tensor]] | None = None
        self._records_graphs = False
        self._total_steps = 0
        self._spanned_steps: int | None = None  # of the restored schedule

    def networks(self) -> Iterator[SRNetwork]:
        """Yields the networks that a training step runs."""
        yield self.net

    def compile_networks(self, *, graphs: bool = False) -> None:
        """Compiles the networks in place, which keeps the names of their weights.

        Args:
            graphs: Compiles each network as a whole and records CUDA graphs, which launch all its kernels at once.
                Their outputs last until the next training step; gradients cannot be accumulated over several batches.
        """
        self._records_graphs = graphs
        torch.compiler.reset()  # graphs of earlier networks count for the limit
        torch._dynamo.config.cache_size_limit = _SHAPES_PER_BLOCK
        torch._dynamo.config.skip_nnmodule_hook_guards = False  # a block with a tap is another
        for net in self.networks():
            if graphs:
                net.compile(mode="reduce-overhead")
                continue
            for part in _outermost(net, tuple(net.compiled_blocks)) or [net]:
                part.compile(dynamic=False)

    def restore(self, batch: Batch) -> SROutput:
        """Runs the network on a batch."""
        inputs = self.net.inputs(batch)
        return require_output(self.net, self.net(*inputs), inputs[0])

    def teacher_output(self, batch: Batch) -> SROutput | None:
        """Returns the teacher's output; None if there is no teacher."""
        return None

    @property
    def role(self) -> str:
        """Role of the trained network, by which trackers group runs."""
        raise NotImplementedError

    @property
    def needs_parsing(self) -> bool:
        """Whether training needs parsing maps."""
        return self.net.uses_parsing

    def forward(self, batch: Batch) -> Tensor:
        """Returns the restored faces of a batch, (B, 3, H, W), not clamped.

        Validation, tests and grids call this. It runs eagerly if the network is compiled: only training repeats one
        shape often enough to win back a compilation.
        """
        with eagerly():
            return self.restore(batch).sr

    def loss(self, batch: Batch, output: SROutput, progress: Progress) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the total loss of a batch and its unweighted terms."""
        require_keys(batch, ("hr",), type(self).__name__)
        teacher_output = self.teacher_output(batch) if self.objective.needs_teacher(progress) else None
        return self.objective(output, batch["hr"], teacher_output, progress, batch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Returns the loss of a batch; logs it, its terms and their weights."""
        if self._records_graphs:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]  # frees the last step's outputs
        progress = Progress(step=self.global_step, epoch=self.current_epoch)
        total, parts = self.loss(batch, self.restore(batch), progress)
        self._check_finite(total.detach(), parts)
        faces = len(batch["hr"])
        if self._is_logged():  # at other steps nobody reads the values, and `log` takes half a millisecond for each
            self.log("train/loss", total, batch_size=faces)
            # Of all terms, as tensors on the host: Lightning repeats a value until another comes, and would move each
            # float to the device and wait for it. The loss of a term that is off is not computed.
            losses = dict.fromkeys(self.objective.weights, torch.tensor(math.nan)) | parts
            weights = {name: torch.tensor(weight.at(progress)) for name, weight in self.objective.weights.items()}
            self.log_dict({f"train/loss/{name}": loss for name, loss in losses.items()}, batch_size=faces)
            self.log_dict({f"train/weight/{name}": weight for name, weight in weights.items()}, batch_size=faces)
            # Lightning reads what a bar shows after every step, so it gets a copy on the host.
            self.log("loss", total.detach().cpu(), prog_bar=True, logger=False, batch_size=faces)
        return total

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Updates the validation metrics."""
        require_keys(batch, ("hr",), type(self).__name__)
        self._val_metrics.update(self(batch), batch["hr"])

    def on_validation_epoch_end(self) -> None:
        """Logs `val/psnr_y` and `val/ssim_y`."""
        self.log_dict({f"val/{name}": value for name, value in self._val_metrics.compute().items()}, prog_bar=True)
        self._val_metrics.reset()

    def on_test_start(self) -> None:
        """Creates metrics for each test set.

        Sets are named after the stores of a `FaceSRDataModule`, or after the keys of a mapping of loaders, else
        numbered from 0.
        """
        datamodule, loaders = self.trainer.datamodule, self.trainer.test_dataloaders  # type: ignore[attr-defined]  # set by `trainer.test`
        several = loaders if isinstance(loaders, Mapping | list | tuple) else [loaders]
        names = getattr(datamodule, "test_stores", several if isinstance(several, Mapping) else range(len(several)))
        self._test_metrics = nn.ModuleDict({str(name): face_sr_metrics() for name in names}).to(self.device)

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Updates the metrics of a test set."""
        metrics = list(self._test_metrics.values())[dataloader_idx]
        metrics.update(self(batch), batch["hr"])  # type: ignore[operator]  # stub

    def on_test_epoch_end(self) -> None:
        """Logs `test/<set>/psnr_y` and `test/<set>/ssim_y`."""
        for dataset, metrics in self._test_metrics.items():
            self.log_dict({f"test/{dataset}/{name}": value for name, value in metrics.compute().items()})  # type: ignore[operator]  # stub

    def configure_optimizers(self) -> Any:
        """Returns the optimiser of network and objective, and the scheduler, which steps with the optimiser."""
        parameters = [*self.net.parameters(), *self.objective.parameters()]
        optimizer = self._make_optimizer(parameters)
        if self._make_scheduler is None:
            return optimizer
        length = self.trainer.estimated_stepping_batches
        if math.isinf(length):
            raise ConfigError(
                "The learning rate schedule spans the training, whose length is not set. Set trainer.max_steps or "
                "trainer.max_epochs."
            )
        self._total_steps = int(length)
        scheduler = self._make_scheduler(optimizer, total_steps=self._total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clips the gradients, also those of a fused optimiser, which Lightning refuses in mixed precision.

        It refuses because a fused optimiser divides the gradients by the loss scale itself, after clipping. Without a
        scaler (bf16-mixed) there is no such scale; with one (16-mixed) they are divided here, and the optimiser does
        not divide them again (see `torch.amp.GradScaler.step`).
        """
        if not gradient_clip_val:
            return
        plugin = self.trainer.precision_plugin
        scaler = getattr(plugin, "scaler", None)
        if scaler is not None and _optimizer_handles_unscaling(optimizer):
            scaler.unscale_(optimizer)
        algorithm = GradClipAlgorithmType(gradient_clip_algorithm or "norm")
        Precision.clip_gradients(plugin, optimizer, gradient_clip_val, algorithm)

    def on_train_start(self) -> None:
        """Spans the schedule over the new length of a run that is resumed with another one."""
        if self._spanned_steps not in (None, self._total_steps):
            config = self.trainer.lr_scheduler_configs[0]
            config.scheduler = self._replayed_schedule(config.scheduler.optimizer, self.global_step)

    def _replayed_schedule(self, optimizer: Optimizer, steps: int) -> LRScheduler:
        """Returns a new schedule after a number of steps; sets the optimiser's learning rate accordingly."""
        assert self._make_scheduler is not None  # there is a schedule to replace
        for group in optimizer.param_groups:
            group["lr"] = group.pop("initial_lr")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*lr_scheduler.step.*before.*optimizer.step.*")
            scheduler = self._make_scheduler(optimizer, total_steps=self._total_steps)
            for _ in range(steps):
                scheduler.step()
        return scheduler

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the card and the length of the schedule.

        Raises:
            TrainingError: If a loss or a weight is not finite, because the checkpoint would be useless.
        """
        self._raise_if_not_finite()
        if not all(bool(torch.isfinite(weight).all()) for weight in self.net.parameters()):
            raise TrainingError(f"The weights are not finite after step {self.global_step}.\n{self.remedies}")
        datamodule = getattr(self._trainer, "datamodule", None)
        checkpoint[CARD_KEY] = {**_INPUT, **getattr(datamodule, "card", {}), **self.card}
        checkpoint[_LENGTH_KEY] = self._total_steps

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: str | Path, map_location: Any = None, **arguments: Any) -> Self:  # type: ignore[override]  # the network comes from the card
        """Returns a module with the trained network of a checkpoint; training can go on from its weights.

        Args:
            checkpoint_path: A checkpoint of any of these modules, or whatever else `load_model` reads.
            map_location: The device; the CPU by default.
            **arguments: Arguments of the module besides `net`, e.g. `objective`, `make_optimizer`, `teacher`. The
                weights that an objective learns, e.g. adapters, are restored, too.

        Raises:
            CheckpointError: If the file cannot be read, or the network is not trusted; see `load_model`.
        """
        loaded = load_network(checkpoint_path)
        kept = {key: value for key, value in loaded.card.items() if key not in ("network", "scale")}
        module = cls(loaded.net.train(), card=kept | arguments.pop("card", {}), **arguments)
        state = {name: value for name, value in read_checkpoint(loaded.path)["state_dict"].items()}
        learned = {name: value for name, value in module.state_dict().items() if name.startswith("objective.")}
        if learned.keys() <= state.keys():
            module.load_state_dict({name: state[name] for name in learned}, strict=False)
        return module if map_location is None else module.to(map_location)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the length of the schedule."""
        self._spanned_steps = checkpoint.get(_LENGTH_KEY)

    def _check_finite(self, total: Tensor, parts: Mapping[str, Tensor]) -> None:
        # The flag stays on the device between logging steps, because reading it makes the host wait.
        finite = torch.isfinite(total)
        self._all_finite = finite if self._all_finite is None else self._all_finite & finite
        self._last_parts = parts
        if self._is_logged():
            self._raise_if_not_finite()
        if self._is_logged() or self.global_step == 1:  # the gradients are those of the step before
            self._last_norms = self.global_step, gradient_norms(self.net)

    def _is_logged(self) -> bool:
        """Returns whether Lightning logs this step, or it is the first: then the host may wait for the device."""
        every = int(self.trainer.log_every_n_steps)  # type: ignore[attr-defined]  # connector
        return self.global_step == 0 or (every > 0 and (self.global_step + 1) % every == 0)

    def _raise_if_not_finite(self) -> None:
        if self._all_finite is None or bool(self._all_finite):
            return
        parts = ", ".join(f"{name} {float(part):g}" for name, part in self._last_parts.items())
        step, norms = self._last_norms or (0, {})
        told = f"\nGradient norms at step {step:,}: {in_words(norms, self.trainer)}." if norms else ""
        raise TrainingError(
            f"The loss was not finite at or before step {self.global_step:,} (terms: {parts}).{told}\n{self.remedies}"
        )

    @property
    def remedies(self) -> str:
        """What to type against losses that are not finite, of what the training does not do already."""
        clipped = "" if self.trainer.gradient_clip_val else ", set trainer.gradient_clip_val=0.5"
        exact = ", or trainer.precision=32" if str(self.trainer.precision).startswith("16") else ""
        return f"Lower optimizer.lr{clipped}{exact}."


def gradient_norms(net: nn.Module) -> dict[str, Tensor]:
    """Returns the norm of the last gradients of each part of a network."""
    gradients = {
        name: [parameter.grad for parameter in part.parameters() if parameter.grad is not None]
        for name, part in net.named_children()
    }
    return {name: torch.nn.utils.get_total_norm(each) for name, each in gradients.items() if each}


def in_words(norms: Mapping[str, Tensor], trainer: lightning.Trainer) -> str:
    """Returns gradient norms as messages show them."""
    shown = ", ".join(f"{name} {float(norm):.1g}" for name, norm in norms.items())
    return f"{shown} (clipped)" if trainer.gradient_clip_val else shown


def _outermost(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> list[nn.Module]:
    """Returns the submodules of some classes that are in no other of them, but for those without weights.

    PyTorch compiles nothing of a class once it met an empty stage of it.
    """
    found = []
    for child in module.children():
        found += [child] if isinstance(child, kinds) else _outermost(child, kinds)
    return [each for each in found if next(each.parameters(), None) is not None]


def eagerly() -> AbstractContextManager[None]:
    """Returns a context in which compiled networks run eagerly; inside a compiled function it changes nothing."""
    return nullcontext() if torch.compiler.is_compiling() else torch.compiler.set_stance("force_eager")


def _spec(net: SRNetwork) -> dict[str, Any]:
    if not isinstance(net, SRNetwork) or not isinstance(getattr(net, "scale", None), int):
        raise ConfigError(
            f"{type(net).__name__} is no network of face super-resolution: derive its class from "
            f"{SRNetwork.__module__}.{SRNetwork.__name__} and set self.scale, its enlargement."
        )
    return net.spec
