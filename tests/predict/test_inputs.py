"""What is restored, and where its result goes."""

from pathlib import Path

import pytest

from pkdn_lightning.errors import DataError
from pkdn_lightning.predict.inputs import find_inputs


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ("a.png", "b.jpg", "sub/c.PNG", "clip.mp4", "notes.txt", ".hidden/d.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"")
    return tmp_path / "in"


def names(wanted, output: Path = Path("out"), form: str = "png") -> dict[str, str]:
    return {each.file.name: str(each.name) for each in find_inputs(str(wanted), output, form).images}


def test_a_folder_is_searched(folder):
    assert names(folder) == {"a.png": "a.png", "b.jpg": "b.png", "clip.mp4": "clip.png", "c.PNG": "sub/c.png"}


def test_the_format_may_stay(folder):
    (folder / "e.gif").write_bytes(b"")
    assert names(folder, form="same") == {
        "a.png": "a.png", "b.jpg": "b.jpg", "clip.mp4": "clip.png", "e.gif": "e.png", "c.PNG": "sub/c.PNG",
    }  # fmt: skip


def test_a_pattern_and_a_file(folder):
    assert names(folder / "*.jpg") == {"b.jpg": "b.png"}
    assert names(folder / "**" / "*.PNG") == {"c.PNG": "sub/c.png"}
    assert names(folder / "*.txt") == {"notes.txt": "notes.png"}  # whoever names it means it
    assert names(folder / "sub" / "c.PNG") == {"c.PNG": "c.png"}


def test_files_that_differ_by_their_suffix_only_stay_apart(folder):
    (folder / "a.jpg").write_bytes(b"")
    assert names(folder)["a.jpg"] == "a.jpg.png"
    assert names(folder)["a.png"] == "a.png"
    (folder / "a.jpg.png").write_bytes(b"")
    assert names(folder)["a.jpg"] == "a.jpg.png.png"
    assert names(folder)["a.jpg.png"] == "a.jpg.png"
    assert len(set(names(folder).values())) == len(names(folder)) == 6


def test_what_was_made_before_is_no_input(folder):
    (folder / "out").mkdir()
    (folder / "out" / "a.png").write_bytes(b"")
    assert len(names(folder, folder / "out")) == 4


def test_what_is_no_image_is_named(folder):
    assert find_inputs(str(folder), Path("out")).found.note() == "Left out: notes.txt (no image file), 1 hidden."


def test_a_video_gets_the_commands_that_make_images_of_it(folder):
    with pytest.raises(DataError, match=r"is a video(?s:.*)ffmpeg -i .*clip\.mp4(?s:.*)input=frames/(?s:.*)-c:a copy"):
        names(folder / "clip.mp4")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("nowhere", "There is no nowhere"),
        ("nowhere/*.png", "No images at nowhere"),
        ("https://example.org/a.png", "is a URL"),
    ],
)
def test_nothing_there(wanted, message):
    with pytest.raises(DataError, match=message):
        find_inputs(wanted, Path("out"))
