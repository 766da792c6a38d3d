"""Videos, frame by frame."""

import numpy as np
import pytest
from PIL import Image

from pkdn_lightning.errors import DataError
from pkdn_lightning.predict import predict, video
from pkdn_lightning.predict.inputs import Input

from .conftest import blurred

cv2 = pytest.importorskip("cv2")


def write(file, frames, rate: float = 12.5) -> None:
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"mp4v"), rate, frames[0].size)
    for frame in frames:
        writer.write(np.ascontiguousarray(np.asarray(frame)[..., ::-1]))
    writer.release()


@pytest.fixture
def clip(images):
    frames = []
    for number in range(7):
        frame = Image.new("RGB", (160, 120), "gray")
        frame.paste(blurred(2, 48), (20 + 4 * number, 30))
        frames.append(frame)
    write(images / "clip.mp4", frames)
    return images / "clip.mp4"


def test_every_frame_is_restored_at_the_same_rate(clip, config, detector):
    detector((20, 30, 48))
    result = predict(config("batch_size=3"))
    assert result.failed == []
    reader = cv2.VideoCapture(str(result.folder / "clip.mp4"))
    assert reader.get(cv2.CAP_PROP_FPS) == 12.5
    assert reader.get(cv2.CAP_PROP_FRAME_COUNT) == 7
    assert (reader.get(cv2.CAP_PROP_FRAME_WIDTH), reader.get(cv2.CAP_PROP_FRAME_HEIGHT)) == (320, 240)
    assert "7 frames at 12.5 per second, photo, 7 faces restored, no sound -> 320x240" in result.rows[0].decision
    assert predict(config("batch_size=3")).skipped == 1


def test_frames_without_a_face_are_enlarged_all_the_same(clip, config, detector):
    detector()
    result = predict(config("upscale=2"))
    assert "0 faces restored" in result.rows[0].decision
    assert "-> 320x240" in result.rows[0].decision


def test_a_video_of_lr_faces(images, config):
    write(images / "clip.mp4", [blurred(2, 32)] * 3)
    assert (
        "3 frames at 12.5 per second, lr, 3 faces restored, no sound -> 256x256" in predict(config()).rows[0].decision
    )


@pytest.mark.parametrize("content", [b"", b"no video"])
def test_what_is_no_video(images, config, content):
    (images / "clip.mp4").write_bytes(content)
    assert "is no video that OpenCV can read" in predict(config()).rows[0].error


def test_a_failure_leaves_no_half_video(clip, config, detector, monkeypatch):
    detector((20, 30, 48))
    monkeypatch.setattr(video, "assemble", lambda *_: (_ for _ in ()).throw(DataError("full")))
    result = predict(config())
    assert result.rows[0].error == "full"
    assert sorted(file.name for file in result.folder.iterdir()) == ["manifest.csv", "manifest.jsonl"]


def test_it_is_known_by_its_name(clip):
    assert Input(clip, clip).is_video
