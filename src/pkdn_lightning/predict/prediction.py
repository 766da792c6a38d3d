"""One prediction from its configuration to its manifest."""

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from pkdn_lightning.console import console
from pkdn_lightning.errors import ConfigError, DataError, PKDNError
from pkdn_lightning.faces.folders import suffixes
from pkdn_lightning.faces.images import check_regular
from pkdn_lightning.faces.rejection import Rejected
from pkdn_lightning.files import file_sha256, whole_file
from pkdn_lightning.models.runtimes import Restorer, flip_ensemble, load_runtime
from pkdn_lightning.predict.image_file import ImageFile
from pkdn_lightning.predict.inputs import Input, find_inputs, refuse_video
from pkdn_lightning.predict.manifest import FILE, Manifest, Row, Status, changes, sole_writer
from pkdn_lightning.predict.models import ModelSet, choose_models, fastest_form
from pkdn_lightning.predict.paste import assemble
from pkdn_lightning.predict.references import References
from pkdn_lightning.predict.restore import restore_all
from pkdn_lightning.predict.routing import Decision, Face, decide
from pkdn_lightning.predict.summary import summary

_PIXELS_AT_ONCE = 50_000_000  # of photographs that wait until their faces fill a batch
# The options that a result depends on.
_SETTINGS = ("mode", "faces", "upscale", "strength", "ensemble", "precision", "format")


class Prediction(NamedTuple):
    """What a prediction did.

    Attributes:
        folder: Where results and manifest are.
        rows: A row per input, also those done before.
        skipped: How many were done before.
        metrics: Means of PSNR and SSIM over the inputs that have a reference.
        left_out: Which files of the input folder are no images, in one sentence; empty if there are none.
    """

    folder: Path
    rows: Sequence[Row]
    skipped: int
    metrics: dict[str, float]
    left_out: str = ""

    @property
    def failed(self) -> list[Row]:
        """The rows of inputs that could not be restored."""
        return [row for row in self.rows if row.status == "failed"]

    @property
    def kept(self) -> list[Row]:
        """The rows of inputs that were not restored because another result of that name is there."""
        return [row for row in self.rows if row.status == "kept"]

    def summary(self) -> str:
        """Returns what was done, in numbers; see `summary.summary`."""
        return summary(self.rows, self.skipped)


class _KeptError(DataError):
    """Another result of that name is there, and is not replaced unasked."""


class Task(NamedTuple):
    """An image that waits for its faces to be restored."""

    input: Input
    row: Row
    image: ImageFile
    decision: Decision
    started: float


def run_prediction(cfg: DictConfig) -> Prediction:
    """Restores what `cfg` names; see `predict.predict`."""
    _check(cfg)
    # Read when torch is imported: threads that wait for each other leave the cores to other processes.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if cfg.accelerator == "gpu":  # says at once if there is none
        from pkdn_lightning.hardware import set_up

        set_up(accelerator=cfg.accelerator)
    folder = Path(cfg.output).expanduser()
    inputs = find_inputs(cfg.input, folder, cfg.format)
    for each in inputs.images:
        if os.path.realpath(folder / each.name) == os.path.realpath(each.file):
            raise ConfigError(f"The result of {each.file} would replace it. Choose another folder: output=restored")
    references = References(cfg.references) if cfg.references else None
    models = choose_models(cfg.model, partial(_loaded, cfg), partial(fastest_form, cfg=cfg))
    with sole_writer(folder) as manifest:
        run = _Run(cfg, models, manifest, references)
        rows = run.all(inputs.images)
        for file in inputs.found.left_out:
            if str(file) not in manifest.rows:
                manifest.add(Row(str(file), "", "", "left out", decision="no image format, by its name"))
    metrics = [row.metrics for row in rows if row.metrics]
    means = {name: float(np.mean([each[name] for each in metrics])) for name in (metrics[0] if metrics else ())}
    return Prediction(folder, rows, run.skipped, means, inputs.found.note())


def _loaded(cfg: DictConfig, name: str) -> Restorer:
    options = {key: cfg[key] for key in ("runtime", "precision", "accelerator", "threads", "trust")}
    restorer = load_runtime(name, **options)
    if cfg.ensemble == "flip":
        restorer = replace(restorer, restore=flip_ensemble(restorer.restore))
    loss = f" in 8 bits (loses {restorer.card['loss_db']:.2g} dB)" if "loss_db" in restorer.card else ""
    console.print(
        f"{restorer.card.get('experiment') or restorer.path.name}: {restorer.lr_px} px to {restorer.hr_px} px, "
        f"{restorer.runtime}{loss}, {restorer.sha256[:12]}; trained with degradation={restorer.card['degradation']}"
    )
    return restorer


def _check(cfg: DictConfig) -> None:
    for key in ("input", "output"):
        if not cfg[key]:
            raise ConfigError(f"{key}= is not set. Type: pkdn predict input=<images> output=<folder>")
    if cfg.output.lower().endswith(suffixes()) and not Path(cfg.output).expanduser().is_dir():
        raise ConfigError(
            f"output={cfg.output} is the name of an image; expected a folder, in which results have the names of their "
            "inputs: output=restored"
        )


class _Run:
    """What all files of one prediction share."""

    def __init__(self, cfg: DictConfig, models: ModelSet, manifest: Manifest, references: References | None) -> None:
        self.cfg, self.models, self.manifest, self.references = cfg, models, manifest, references
        self.settings = {key: cfg[key] for key in _SETTINGS} | {"runtime": models.runtime()}
        self.sha256 = models.sha256()
        self.skipped, self.rows, self.told = 0, dict[Path, Row](), set[str]()

    def all(self, inputs: Sequence[Input]) -> list[Row]:
        """Restores every input, and returns their rows in order."""
        columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        with Progress("restoring", *columns, console=console, transient=True) as progress:
            bar = progress.add_task("", total=len(inputs))
            try:
                for done, tasks in self._chunks(inputs):
                    self._finish(tasks)
                    progress.update(bar, completed=done)
            except KeyboardInterrupt:
                raise DataError(
                    f"Stopped by the keyboard. What is done is in {self.manifest.folder / FILE}: the same command "
                    "continues."
                ) from None
        return [self.rows[each.name] for each in inputs]

    def _chunks(self, inputs: Sequence[Input]) -> Iterator[tuple[int, list[Task]]]:
        """Yields images whose faces fill a batch together, and how many inputs are done with them."""
        waiting: list[Task] = []
        for number, each in enumerate(inputs, 1):
            if (task := self._begin(each)) is not None:
                waiting.append(task)
            pixels = sum(task.image.rgb.width * task.image.rgb.height for task in waiting)
            faces = sum(max(1, len(task.decision.lr)) for task in waiting)
            if faces >= self.cfg.batch_size or pixels >= _PIXELS_AT_ONCE or number == len(inputs):
                yield number, waiting
                waiting = []

    def _begin(self, each: Input) -> Task | None:
        """Opens an input and decides what to do; returns None if nothing is left to do."""
        started = time.perf_counter()
        row = Row(str(each.file), "", str(each.name), settings=self.settings, model_sha256=self.sha256)
        image = None
        try:
            check_regular(each.file)
            row.sha256 = file_sha256(each.file)
            if not self.cfg.overwrite and (known := self.manifest.find(row)):
                self.skipped += 1
                self.rows[each.name] = known
                return None
            self._refuse_to_overwrite(each, row)
            refuse_video(each.file)
            image = ImageFile.open(each.file)
            decision = self._decide(image)
        except Exception as error:  # whatever it is, it costs this file only
            self._failed(each, row, error, started)
            return None
        return Task(each, row, image, decision, started)

    def _decide(self, image: ImageFile) -> Decision:
        upscale = self.cfg.upscale or 1
        try:
            return decide(image, self.models, mode=self.cfg.mode, faces=self.cfg.faces, upscale=upscale)
        except Rejected as rejected:
            if rejected.reason != "no_face":
                raise
            return Decision("photo", rejected.detail, [], [], upscale=upscale)

    def _refuse_to_overwrite(self, each: Input, row: Row) -> None:
        target = self.manifest.folder / each.name
        if not os.path.lexists(target) or self.cfg.overwrite or row.output == self.manifest.unfinished:
            return
        why, known = "was not made by pkdn", self.manifest.rows.get(row.output)
        if known is not None and not known.error:
            changed = " and ".join(changes(known, row))
            why = f"was made {changed}" if changed else "exists"
        raise _KeptError(f"{target} {why} and is kept. overwrite=true replaces it")

    def _finish(self, tasks: Sequence[Task]) -> None:
        """Restores the faces of some images together, and writes each image."""
        given = [pair for task in tasks for pair in zip(task.decision.models, task.decision.lr, strict=True)]
        results = restore_all([(model.load(), lr) for model, lr in given], self.cfg.batch_size)
        for task in tasks:
            own, results = results[: len(task.decision.lr)], results[len(task.decision.lr) :]
            with self.manifest.writing(task.row.output):
                try:
                    self._write(task, own)
                except Exception as error:  # see above
                    self._failed(task.input, task.row, error, task.started)
                else:
                    self._done(task.input, replace(task.row, seconds=round(time.perf_counter() - task.started, 3)))

    def _write(self, task: Task, results: Sequence[NDArray[np.uint8] | PKDNError]) -> None:
        result = assemble(task.image, task.decision, results, self.cfg.strength)
        row, decision, target = task.row, task.decision, self.manifest.folder / task.input.name
        restored = decision.mode != "photo" or (decision.lr and self.cfg.strength > 0)
        notes = [decision.why, *task.image.notes]
        if self.references is not None:
            row.metrics = self.references.measure(task.input.name, result.rgb)
        if not restored and decision.upscale == 1 and target.suffix == task.input.file.suffix:
            with whole_file(target) as temporary:
                shutil.copyfile(task.input.file, temporary)
            notes = [decision.why]
        elif problem := result.save(target):
            notes.append(problem)
        row.status = "restored" if restored else "copied"
        row.mode, row.upscale, row.turn = decision.mode, result.rgb.width / task.image.rgb.width, decision.turn
        row.decision = f"{'; '.join(notes)} -> {row.status}, {result.rgb.width}x{result.rgb.height}"
        row.models = dict(Counter(model.name for model in decision.models)) if restored else {}
        row.better = self._better(task)
        row.faces = [_noted(face) for face in decision.faces]

    def _better(self, task: Task) -> str:
        """Returns the included model that suits the size of a picture's faces better, or nothing."""
        decision = task.decision
        sides = [(face.model, face.box.side) for face in decision.faces]
        if decision.mode == "lr":
            sides = [(decision.models[0], max(task.image.rgb.size))]
        names = (self.models.better(model, side, photo=decision.mode == "photo") for model, side in sides)
        return next(filter(None, names), "")

    def _done(self, each: Input, row: Row) -> None:
        self.rows[each.name] = row
        self.manifest.add(row)
        told = row.error or row.decision
        if row.error in self.told:  # of the installation, or of the command: such reasons are long
            told = f"{row.error.partition(':')[0]}; see above"
        console.print(f"{row.input}: {told}", style="red" if row.error else None)

    def _failed(self, each: Input, row: Row, error: Exception, started: float) -> None:
        text = error.detail if isinstance(error, Rejected) else str(getattr(error, "strerror", None) or error)
        if not isinstance(error, PKDNError | OSError):
            text = f"{type(error).__name__}: {text}"
        message = text.replace("\n", " ").replace(f"{row.input} ", "")  # the row names the file
        seconds = round(time.perf_counter() - started, 3)
        status: Status = "kept" if isinstance(error, _KeptError) else "failed"
        self._done(each, replace(row, status=status, seconds=seconds, error=message))
        if isinstance(error, ConfigError):
            self.told.add(message)


def _noted(face: Face) -> dict[str, Any]:
    """Returns what the manifest holds of a face."""
    tilted = {"angle": round(face.angle, 1)} if face.angle else {}
    return {"box": list(face.box)} | tilted | ({"kept": face.why_kept} if face.why_kept else {"model": face.model.name})
