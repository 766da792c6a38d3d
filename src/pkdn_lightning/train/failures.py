"""Records how a training ended, and explains errors that can happen to any run."""

import contextlib
import errno
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from pkdn_lightning.errors import TrainingError, describe
from pkdn_lightning.models.checkpoints import read_checkpoint
from pkdn_lightning.runs import RunFolder, RunStatus
from pkdn_lightning.train.callbacks import TrainingInterruptedError
from pkdn_lightning.train.resume import measured


@contextlib.contextmanager
def translate_errors(run: RunFolder, record: Mapping[str, Any]) -> Iterator[None]:
    """Records how a training ended and replaces errors that can happen to any run by a message that says how to go on.

    Args:
        run: The run folder.
        record: Provenance, kept in its results.

    Raises:
        TrainingInterruptedError: If the training was asked to stop.
        TrainingError: If the loss was not finite, or memory or disk ran out.
    """
    resume = f"Resume with: pkdn train resume={run.path}"
    try:
        with _recorded(run, record):
            yield
    except TrainingInterruptedError as stop:
        raise TrainingInterruptedError(f"{stop}\n{resume}") from None
    except TrainingError as error:
        raise TrainingError(f"{error}\n{_what_is_left(run)}") from None
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"The accelerator is out of memory: {str(error).splitlines()[0]}\nSet a smaller data.batch_size with "
            "trainer.accumulate_grad_batches to match, or trainer.precision=bf16-mixed."
        ) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise TrainingError(f"The disk is full: {error}. Make room.\n{_what_is_left(run)}") from error


def _what_is_left(run: RunFolder) -> str:
    if not run.last.is_file():
        return "No checkpoint had been written yet: start the run again."
    step = read_checkpoint(run.last)["global_step"]
    return f"{run.last} of step {step:,} is kept. Resume with: pkdn train resume={run.path}"


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
