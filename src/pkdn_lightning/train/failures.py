"""Records how a training ended, and explains errors that can happen to any run."""

import contextlib
import errno
from collections.abc import Iterator, Mapping
from typing import Any, Final

from omegaconf import DictConfig

from pkdn_lightning.errors import DeviceError, TrainingError, describe
from pkdn_lightning.hardware import is_device_failure, is_out_of_memory
from pkdn_lightning.models.checkpoints import read_checkpoint
from pkdn_lightning.runs import RunFolder, RunStatus
from pkdn_lightning.train.callbacks import TrainingInterruptedError
from pkdn_lightning.train.resume import measured

_COMPILER: Final = ("torch._dynamo", "torch._inductor")


@contextlib.contextmanager
def translate_errors(run: RunFolder, record: Mapping[str, Any], cfg: DictConfig) -> Iterator[None]:
    """Records how a training ended and replaces errors that can happen to any run by a message that says how to go on.

    Args:
        run: The run folder.
        record: Provenance, kept in its results.
        cfg: The configuration of the training.

    Raises:
        TrainingInterruptedError: If the training was asked to stop.
        TrainingError: If the loss was not finite, memory or disk ran out, or the networks could not be compiled.
        DeviceError: If the GPU or its driver failed.
    """
    resume = f"Resume with: pkdn train resume={run.path}"
    try:
        with _recorded(run, record):
            yield
    except TrainingInterruptedError as stop:
        raise TrainingInterruptedError(f"{stop}\n{resume}") from None
    except TrainingError as error:
        raise TrainingError(f"{error}\n{_what_is_left(run)}") from None
    except RuntimeError as error:
        found = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if is_out_of_memory(error):
            raise TrainingError(f"Out of memory: {found}\n{_what_is_left(run)}\n{_smaller(cfg)}") from error
        if type(error).__module__.startswith(_COMPILER):
            reason = str(getattr(error, "inner_exception", error)).strip().split("\n")[0]
            raise TrainingError(
                f"torch.compile failed: {reason}\n{_what_is_left(run)}\nTo train without it, add: module.compile=false"
            ) from error
        if is_device_failure(error):
            raise DeviceError(
                f"The GPU failed: {found}\n{_what_is_left(run)}\n"
                "If it happens again, check driver and GPU with nvidia-smi."
            ) from error
        raise
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise TrainingError(f"The disk is full: {error}. Make room.\n{_what_is_left(run)}") from error


def _what_is_left(run: RunFolder) -> str:
    if not run.last.is_file():
        return "No checkpoint had been written yet: start the run again."
    step = read_checkpoint(run.last)["global_step"]
    return f"{run.last} of step {step:,} is kept. Resume with: pkdn train resume={run.path}"


def _smaller(cfg: DictConfig) -> str:
    """Returns what to type for steps of as many faces in less memory."""
    batch, batches = cfg.data.batch_size, cfg.trainer.accumulate_grad_batches
    if batch % 2:
        return "To need less memory, add module.recompute=true, or trainer.precision=bf16-mixed."
    eager = " module.compile=true" if cfg.module.compile == "graphs" else ""  # graphs cannot accumulate
    return (
        f"To need less memory for the same steps, add: data.batch_size={batch // 2} "
        f"trainer.accumulate_grad_batches={batches * 2}{eager}"
    )


@contextlib.contextmanager
def _recorded(run: RunFolder, record: Mapping[str, Any]) -> Iterator[None]:
    """Writes the status of a run that stopped or failed; a process that is killed leaves none."""
    try:
        yield
    except TrainingInterruptedError:
        run.write_results(RunStatus.INTERRUPTED, {**measured(run), **record})
        raise
    except Exception as error:
        if run.provenance.is_file():  # otherwise the run had not started, and the folder may be another one's
            run.write_results(RunStatus.FAILED, {**measured(run), **record, "error": describe(error)})
        raise
