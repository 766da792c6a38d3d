"""A video, frame by frame: faces are found and restored in each, with the rate of the frames kept.

Sound is not carried over: OpenCV reads images only. With ffmpeg it is put back by

    ffmpeg -i restored.mp4 -i original.mp4 -map 0:v -map '1:a?' -c copy with_sound.mp4
"""

from collections.abc import Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from omegaconf import DictConfig
from PIL import Image
from rich.console import Console
from rich.progress import track

from pkdn_lightning.errors import ConfigError, DataError, PKDNError
from pkdn_lightning.faces.rejection import Rejected
from pkdn_lightning.models.runtimes import Restorer
from pkdn_lightning.predict.image_file import ImageFile
from pkdn_lightning.predict.paste import assemble
from pkdn_lightning.predict.restore import restore_all
from pkdn_lightning.predict.routing import Decision, decide

_LOOKED_AT = 25  # frames among which the first face is looked for, to know how much to enlarge


class _Video(NamedTuple):
    reader: Any
    frames: int
    rate: float
    size: tuple[int, int]


def restore_video(file: Path, target: Path, restorer: Restorer, cfg: DictConfig, console: Console) -> tuple[str, float]:
    """Writes a video with its faces restored; returns what was decided, in words, and the enlargement.

    A face that has more detail than the network would see is left alone, as in photographs, in each frame anew.

    Raises:
        ConfigError: If OpenCV is not installed.
        DataError: If the video cannot be read or written.
    """
    video = _open(file)
    fixed = _first_decision(file, restorer, cfg)
    size = _result_size(video.size, fixed, restorer)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".partial.{target.name}")
    import cv2

    writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*"mp4v"), video.rate, size)
    if not writer.isOpened():
        raise DataError(f"{target} cannot be written: OpenCV has no encoder for it, or the place is read-only.")
    faces = written = 0
    try:
        frames = track(_frames(video), "frames", total=video.frames or None, console=console, transient=True)
        while batch := list(islice(frames, cfg.batch_size)):
            for frame, count in _restored(batch, fixed, restorer, cfg):
                writer.write(np.ascontiguousarray(np.asarray(frame)[..., ::-1]))
                faces, written = faces + count, written + 1
    except BaseException:
        writer.release()
        temporary.unlink(missing_ok=True)
        raise
    writer.release()
    video.reader.release()
    if not written:
        temporary.unlink(missing_ok=True)
        raise DataError("not a single frame of it can be decoded")
    temporary.replace(target)
    lost = f", {video.frames - written} that cannot be decoded left out" if video.frames > written else ""
    why = f"video, {written} frames at {video.rate:g} per second{lost}, {fixed.mode}, {faces} faces restored, no sound"
    return f"{why} -> {size[0]}x{size[1]}", size[0] / video.size[0]


def _open(file: Path) -> _Video:
    if find_spec("cv2") is None:
        raise ConfigError("A video needs OpenCV, which is an extra: pip install 'pkdn-lightning[faces]'")
    import cv2

    reader = cv2.VideoCapture(str(file))
    width, height = int(reader.get(cv2.CAP_PROP_FRAME_WIDTH)), int(reader.get(cv2.CAP_PROP_FRAME_HEIGHT))
    rate = float(reader.get(cv2.CAP_PROP_FPS))
    if not reader.isOpened() or min(width, height) < 1 or not rate > 0:
        raise DataError(f"{file} is no video that OpenCV can read")
    return _Video(reader, max(0, int(reader.get(cv2.CAP_PROP_FRAME_COUNT))), rate, (width, height))


def _frames(video: _Video) -> Iterator[ImageFile]:
    while True:
        there, frame = video.reader.read()
        if not there:
            return
        yield ImageFile(Image.fromarray(np.ascontiguousarray(frame[..., ::-1])))


def _first_decision(file: Path, restorer: Restorer, cfg: DictConfig) -> Decision:
    """Returns the decision on the first frame that shows a face: size and mode are those of the whole video."""
    video = _open(file)
    refused: PKDNError | None = None
    try:
        for frame in islice(_frames(video), _LOOKED_AT):
            try:
                return decide(frame, restorer, mode=cfg.mode, faces=cfg.faces, upscale=cfg.upscale)
            except Rejected as reason:
                refused = reason
    finally:
        video.reader.release()
    if cfg.mode in ("auto", "photo") and refused is not None:
        return Decision("photo", "", [], [], cfg.upscale or 1)  # faces may come later
    raise refused or DataError("not a single frame of it can be decoded")


def _result_size(size: tuple[int, int], fixed: Decision, restorer: Restorer) -> tuple[int, int]:
    if fixed.mode == "aligned":
        return restorer.hr_px, restorer.hr_px
    factor = fixed.upscale if fixed.mode == "photo" else restorer.scale
    return size[0] * factor, size[1] * factor


def _restored(
    batch: list[ImageFile], fixed: Decision, restorer: Restorer, cfg: DictConfig
) -> Iterator[tuple[Image.Image, int]]:
    """Yields each frame of a batch with its faces restored, and how many these are."""
    decisions = [_decision(frame, fixed, restorer, cfg) for frame in batch]
    results = restore_all(restorer, [lr for decision in decisions for lr in decision.lr], cfg.batch_size)
    for frame, decision in zip(batch, decisions, strict=True):
        own, results = results[: len(decision.lr)], results[len(decision.lr) :]
        yield assemble(frame, decision, own).rgb, len(own)


def _decision(frame: ImageFile, fixed: Decision, restorer: Restorer, cfg: DictConfig) -> Decision:
    try:
        return decide(frame, restorer, mode=fixed.mode, faces=cfg.faces, upscale=fixed.upscale)
    except Rejected:  # no face in this frame
        return Decision(fixed.mode, "", [], [], fixed.upscale)
