"""What runs learned from and began with: teachers, and networks that first weights were copied from."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pkdn_lightning.config.training_keys import within
from pkdn_lightning.errors import DataError
from pkdn_lightning.report.run import Run, Source
from pkdn_lightning.report.run_config import completed, read_config
from pkdn_lightning.report.settings import Settings, of_source, settings
from pkdn_lightning.runs import RunFolder

_LENGTH: Final = ("max_steps", "max_epochs")
_KNOWN_OF_STUDENT: Final = ("model", "data.parsing_dropout", *(f"trainer.{key}" for key in _LENGTH))
"""What a student's configuration says of its teacher."""


def with_sources(runs: Sequence[Run]) -> list[Run]:
    """Returns runs with their teachers and what their first weights were copied from."""
    teachers = _with_known_settings([_teacher(run, runs) for run in runs])
    return [
        replace(run, teacher=teacher, start=_start(run, teacher, runs))
        for run, teacher in zip(runs, teachers, strict=True)
    ]


def _teacher(run: Run, reported: Sequence[Run]) -> Source | None:
    """Returns a run's teacher: by its hash where it is reported, else by its path, else by the run's own settings."""
    named = run.results.get("teacher")
    if named is None:
        return None
    file, content = Path(named["path"]), named["sha256"]
    same = [each for each in reported if each.sha256 == content]
    same.sort(key=lambda each: _home(each) != _folder_of(file))  # copies have one hash
    return _of_run(same[0], content) if same else _of_folder(file, content) or _of_student(run, file, content)


def _start(run: Run, teacher: Source | None, reported: Sequence[Run]) -> Source | None:
    """Returns what a run's first weights were copied from; the teacher itself, if they are its weights."""
    name = run.config["module"].get("init_from")
    if not name:
        return None
    if name == "teacher":
        return teacher
    file = RunFolder(Path(name)).best if Path(name).is_dir() else Path(name)
    if not file.is_file():  # an included or a published model, or one that is no longer there
        return Source({}, Settings({}), Path(name), str(name), None)
    if teacher and file.resolve() == Path(run.results["teacher"]["path"]).resolve():
        return teacher
    content = str(file.resolve())
    known = next((each for each in reported if _home(each) == _folder_of(file)), None)
    found = _of_run(known, content) if known else _of_folder(file, content)
    return found or Source({}, Settings({}), file.absolute(), content, None)


def _of_run(run: Run, content: str) -> Source:
    own = _settings(run.config, run.results)
    return Source(run.config["model"], own, run.folder.path.absolute(), content, run.seed, True, run.folder.path)


def _of_folder(file: Path, content: str) -> Source | None:
    """Returns a source by the run folder that its checkpoint lies in; None if that cannot be read."""
    folder = RunFolder(_folder_of(file))
    with suppress(DataError):  # it is no longer there, or was changed
        config = read_config(folder)
        own = _settings(config, folder.read_results())
        return Source(config["model"], own, folder.path, content, config["seed"], True)
    return None


def _of_student(run: Run, file: Path, content: str) -> Source:
    """Returns a teacher whose run folder is unknown: what the student's configuration says of it."""
    wanted = run.config["teacher"]
    network = completed(wanted["model"]) if wanted["model"] else {}
    trainer = {**run.config["trainer"], **{key: wanted[key] for key in _LENGTH if wanted[key]}}
    own = settings({**run.config, "model": network, "trainer": trainer}, data={})
    own = own._replace(values={key: value for key, value in own.values.items() if within(key, _KNOWN_OF_STUDENT)})
    # Of one that is gone nothing tells it from another training of the same teacher, so it counts as the seed's own.
    otherwise = None if file.is_file() else run.seed
    seed = otherwise if wanted["seed"] is None else wanted["seed"]
    return Source(network, of_source(own), file.absolute(), content, seed)


def _settings(config: Mapping[str, Any], results: Mapping[str, Any]) -> Settings:
    data = results.get("data")
    teacher = Settings({}) if results.get("teacher") else None
    return of_source(settings(config, data=data if isinstance(data, Mapping) else {}, teacher=teacher))


def _with_known_settings(teachers: Sequence[Source | None]) -> list[Source | None]:
    """Returns teachers; one whose run folder is unknown has the settings of the known ones, if one kind alone fits.

    Otherwise a row would fall apart when the teacher of one of its seeds is removed.
    """
    known = {repr(sorted(each.settings.values.items())): each.settings for each in teachers if each and each.known}
    found = list[Source | None]()
    for each in teachers:
        if each and not each.known:
            own = each.settings.values.items()
            fitting = [settings for settings in known.values() if own <= settings.values.items()]
            each = replace(each, settings=fitting[0]) if len(fitting) == 1 else each
        found.append(each)
    return found


def _folder_of(file: Path) -> Path:
    """Returns the run folder of a checkpoint, if it lies in one."""
    return file.resolve().parent.parent


def _home(run: Run) -> Path:
    return run.folder.path.resolve()
