"""Archives: what is unpacked, and every way in which one can be wrong or hostile."""

import bz2
import errno
import gzip
import io
import json
import lzma
import os
import stat
import struct
import tarfile
import threading
import warnings
import zipfile
from collections import namedtuple

import numpy as np
import pytest

from pkdn_lightning.errors import DataError
from pkdn_lightning.prepare import archives
from pkdn_lightning.prepare.archives import is_archive, unpack

FACES = {
    "faces/one face.png": b"one" * 1000,
    "faces/gesicht äöü 顔.png": b"two" * 10,
    "faces/deep/er/empty.png": b"",
}
LAYOUTS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".ZIP")


def write(path, members=FACES, *, method=zipfile.ZIP_DEFLATED):
    """Writes an archive of any kind; a value that is a TarInfo or ZipInfo stands for a strange member."""
    if path.name.lower().endswith(".zip"):
        with warnings.catch_warnings(), zipfile.ZipFile(path, "w", method) as file:
            warnings.simplefilter("ignore")  # duplicate names are made on purpose
            for name, content in dict_or_pairs(members):
                file.writestr(name, content)
    else:
        packing = path.name.rpartition(".")[2].replace("tgz", "gz")
        with tarfile.open(path, f"w:{packing if packing != 'tar' else ''}") as file:
            for name, content in dict_or_pairs(members):
                entry = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
                entry.size = len(content)
                file.addfile(entry, io.BytesIO(content))
    return path


def dict_or_pairs(members):
    return members.items() if isinstance(members, dict) else members


def contents(folder):
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.name != ".unpacked.json"
    }


def refuses(archive, *words):
    """Checks that nothing is unpacked, nothing is left, and the message has the words."""
    before = {file for file in archive.parent.parent.rglob("*") if not file.name.endswith(".lock")}
    with pytest.raises(DataError) as error:
        unpack(archive)
    for word in (archive.name, *words):
        assert word in str(error.value)
    assert {file for file in archive.parent.parent.rglob("*") if not file.name.endswith(".lock")} == before
    assert str(error.value).count("\n") < 4


@pytest.fixture
def place(tmp_path):
    """A folder whose parent is watched, too."""
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


@pytest.mark.parametrize("suffix", LAYOUTS)
def test_every_kind_is_unpacked_beside_itself(place, suffix):
    archive = write(place / f"my faces{suffix}")
    folder = unpack(archive)
    assert folder == place / "my faces.unpacked"
    assert contents(folder) == FACES
    assert is_archive(archive)
    assert sorted(file.name for file in place.iterdir() if not file.name.startswith(".")) == sorted(
        [archive.name, folder.name]
    )


def test_a_folder_can_be_chosen(place):
    (place / "empty").mkdir()
    for into in (place / "new" / "deep", place / "empty"):
        assert unpack(write(place / "a.zip"), into) == into
        assert contents(into) == FACES


def test_the_second_time_nothing_is_done(place, monkeypatch):
    archive = write(place / "a.zip")
    folder = unpack(archive)
    monkeypatch.setattr(archives, "_unpack", lambda *_: pytest.fail("unpacked again"))
    assert unpack(archive) == folder


def test_a_changed_archive_replaces_its_folder(place):
    folder = unpack(write(place / "a.zip"))
    (folder / "stale").touch()
    archive = write(place / "a.zip", {"new.png": b"new"})
    assert contents(unpack(archive)) == {"new.png": b"new"}
    status = archive.stat()
    os.utime(archive, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))  # of the same size
    (folder / "stale").touch()
    assert contents(unpack(archive)) == {"new.png": b"new"}
    assert not list(place.glob("*.old")) + list(place.glob("*.partial"))


def test_a_damaged_new_archive_leaves_the_old_folder(place):
    folder = unpack(write(place / "a.zip"))
    (place / "a.zip").write_bytes(b"no archive")
    refuses(place / "a.zip", "damaged")
    assert contents(folder) == FACES


def test_what_an_interrupted_process_left_is_taken_away(place):
    (place / "a.unpacked.partial" / "x").mkdir(parents=True)
    (place / "a.unpacked.old" / "x").mkdir(parents=True)
    assert contents(unpack(write(place / "a.zip"))) == FACES
    assert not list(place.glob("*.old")) + list(place.glob("*.partial"))


def test_a_folder_made_by_someone_else_is_left_alone(place):
    (place / "a.unpacked").mkdir()
    (place / "a.unpacked" / "thesis.txt").write_text("mine")
    refuses(write(place / "a.zip"), "a.unpacked is already there", "move it away")
    assert (place / "a.unpacked" / "thesis.txt").read_text() == "mine"


EVIL = (
    ("/etc/evil", "absolute"),
    ("\\\\server\\evil", "absolute"),
    ("../evil", "leads out"),
    ("good/../../evil", "leads out"),
    ("good\\..\\..\\evil", "leads out"),
    (".. /evil", "leads out"),
    ("C:\\evil", "drive letter"),
    ("good/c:evil", "drive letter"),
)


@pytest.mark.parametrize(("name", "words"), EVIL)
@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_paths_that_lead_elsewhere_unpack_nothing(place, suffix, name, words):
    refuses(write(place / f"a{suffix}", {"good.png": b"good", name: b"evil"}), repr(name), words)


def test_a_zero_byte_in_a_name_is_refused(place):
    archive = write(place / "a.zip", {"good.png": b"good", "evil_.png": b"evil"})
    archive.write_bytes(archive.read_bytes().replace(b"evil_", b"evil\0"))
    refuses(archive, r"evil\x00.png", "zero byte")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (tarfile.SYMTYPE, "a symbolic link to 'good.png'"),
        (tarfile.LNKTYPE, "a hard link to 'good.png'"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.BLKTYPE, "a device"),
        (tarfile.FIFOTYPE, "a fifo"),
    ],
)
def test_a_tar_with_links_or_devices_unpacks_nothing(place, kind, words):
    entry = tarfile.TarInfo("odd")
    entry.type, entry.linkname = kind, "good.png"
    refuses(write(place / "a.tar", [("good.png", b"good"), (entry, b"")]), "'odd'", words)


@pytest.mark.parametrize(
    ("kind", "words"),
    [(stat.S_IFLNK, "a symbolic link"), (stat.S_IFIFO, "a fifo"), (stat.S_IFCHR, "a device")],
)
def test_a_zip_with_links_or_devices_unpacks_nothing(place, kind, words):
    entry = zipfile.ZipInfo("odd")
    entry.external_attr = (kind | 0o777) << 16
    refuses(write(place / "a.zip", [("good.png", b"good"), (entry, b"good.png")]), "'odd'", words)


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_clutter_is_left_out(place, suffix):
    clutter = ("__MACOSX/faces/._a.png", "faces/._a.png", "faces/.DS_Store", "Thumbs.db")
    folder = unpack(write(place / f"a{suffix}", {**dict.fromkeys(clutter, b"x"), "faces/a.png": b"a"}))
    assert contents(folder) == {"faces/a.png": b"a"}
    assert not (folder / "__MACOSX").exists()


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_of_equal_names_the_last_stays(place, suffix):
    members = [("a.png", b"long first"), ("a.png", b"last"), ("A.png", b"great"), ("./b//c.png", b"c"), ("d\\e", b"e")]
    found = contents(unpack(write(place / f"a{suffix}", members)))
    assert found["b/c.png"] == b"c"
    assert found["d/e"] == b"e"
    if (place / "A.ZIP").exists() or (place / "A.TAR").exists():  # a file system that does not tell them apart
        assert found["a.png"] == b"great"
    else:
        assert (found["a.png"], found["A.png"]) == (b"last", b"great")


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_empty_folders_survive_and_modes_do_not(place, suffix):
    if suffix == ".zip":
        run, folder = zipfile.ZipInfo("run.sh"), zipfile.ZipInfo("empty/")
        run.external_attr, folder.external_attr = (stat.S_IFREG | 0o4777) << 16, (stat.S_IFDIR | 0o000) << 16
    else:
        run, folder = tarfile.TarInfo("run.sh"), tarfile.TarInfo("empty")
        run.mode, folder.mode, folder.type = 0o4777, 0o000, tarfile.DIRTYPE
    unpacked = unpack(write(place / f"a{suffix}", [(run, b"#!"), (folder, b"")]))
    assert (unpacked / "empty").is_dir()
    assert (unpacked / "run.sh").stat().st_mode & 0o7133 == 0  # no set-id, nothing to execute, nobody else writes


def test_names_in_utf8_without_the_flag_survive(place):
    archive = write(place / "a.zip", {"ä顔.png": b"x"})
    packed = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = packed.index(signature) + offset
        packed[at : at + 2] = struct.pack("<H", struct.unpack_from("<H", packed, at)[0] & ~0x800)
    archive.write_bytes(packed)
    assert contents(unpack(archive)) == {"ä顔.png": b"x"}


def test_an_encrypted_zip_is_refused(place):
    archive = write(place / "a.zip", {"secret.png": b"secret"})
    packed = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        packed[packed.index(signature) + offset] |= 1
    archive.write_bytes(packed)
    refuses(archive, "encrypted", "secret.png", "7z x")


def test_a_method_that_python_does_not_know_is_told(place):
    archive = write(place / "a.zip")
    packed = archive.read_bytes().replace(b"PK\x03\x04\x14\x00\x00\x00\x08", b"PK\x03\x04\x14\x00\x00\x00\x09")
    archive.write_bytes(
        packed.replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00\x08", b"PK\x01\x02\x14\x03\x14\x00\x00\x00\x09")
    )
    refuses(archive, "7z x")


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tar.xz", ".tar.bz2"])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.6, 0.97])
def test_a_truncated_archive_is_told(place, suffix, part):
    draw = np.random.default_rng(0)
    archive = write(place / f"a{suffix}", {f"{number}.png": draw.bytes(5000) for number in range(5)})
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(len(whole) * part)] if suffix != ".tar" else whole[: int(28_000 * part)])
    refuses(archive, "is damaged; download it again")


def test_a_tar_that_ends_between_two_members_is_told(place):
    archive = write(place / "a.tar", {f"{number}.png": bytes(512) for number in range(5)})
    archive.write_bytes(archive.read_bytes()[: 3 * 1024])
    refuses(archive, "damaged", "end mark")


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz", ".tar.xz", ".tar.bz2"])
def test_changed_bytes_are_told(place, suffix):
    content = {f"{number}.png": np.random.default_rng(number).bytes(5000) for number in range(5)}
    archive = write(place / f"a{suffix}", content, method=zipfile.ZIP_STORED)
    packed = bytearray(archive.read_bytes())
    packed[len(packed) // 2] ^= 0xFF
    archive.write_bytes(packed)
    refuses(archive, "is damaged; download it again")


def test_a_damaged_header_inside_a_tar_does_not_pass_for_its_end(place):
    archive = write(place / "a.tar", {f"{number}.png": bytes(512) for number in range(5)})
    packed = bytearray(archive.read_bytes())
    packed[3 * 1024 + 148] ^= 0xFF
    archive.write_bytes(packed)
    refuses(archive, "damaged")


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_random_damage_never_crashes(place, suffix):
    archive = write(place / f"a{suffix}")
    packed = archive.read_bytes()
    draw = np.random.default_rng(7)
    for number in range(60):
        spoiled = bytearray(packed)
        for at in draw.integers(0, min(len(packed), 6000), 1 + number % 4):
            spoiled[at] = draw.integers(256)
        archive.write_bytes(spoiled)
        try:
            folder = unpack(archive)
        except DataError:
            folder = None
        assert (folder is None) or folder.is_dir()
    assert not list(place.glob("*.partial"))
    assert {path.name for path in place.parent.iterdir()} == {"place"}


def lie_about_size(archive, size):
    packed = bytearray(archive.read_bytes())
    struct.pack_into("<I", packed, packed.index(b"PK\x01\x02") + 24, size)
    archive.write_bytes(packed)
    return archive


@pytest.mark.parametrize("size", [10, 5000])
def test_a_size_that_is_a_lie_is_told(place, size):
    refuses(lie_about_size(write(place / "a.zip", {"a.png": bytes(3000)}), size), "damaged")


def test_no_more_is_written_than_promised(place):
    member = archives._Member("a.png", None, 10, False, None)
    with pytest.raises(EOFError, match="more than the 10 bytes promised"):
        archives._copy(io.BytesIO(bytes(5000)), place / "a.png", member)
    assert (place / "a.png").stat().st_size == 10


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_a_bomb_is_refused(place, monkeypatch, suffix):
    monkeypatch.setattr(archives, "_HARMLESS", 100_000)
    monkeypatch.setattr(archives, "_RATIO", 100)
    refuses(write(place / f"a{suffix}", {"a.png": bytes(1_000_000)}), "100:1", "1.0 MB")
    assert contents(unpack(write(place / f"b{suffix}", {"a.png": bytes(90_000)})))


def test_a_zip_that_promises_terabytes_is_refused(place):
    archive = lie_about_size(write(place / "a.zip", {"a.png": bytes(3000)}), 0xFFFF_FFF0)
    refuses(archive, "1000:1", "4.3 GB")


def test_too_little_room_is_told_before_writing(place, monkeypatch):
    archive = write(place / "a.zip", {"a.png": bytes(100_000)})
    usage = namedtuple("usage", "total used free")(10**9, 10**9, 50_000)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: usage)
    refuses(archive, "no room", "100.0 kB would be written, 50.0 kB are free")


def test_a_disk_that_becomes_full_is_told(place, monkeypatch):
    def full(_file, _chunk):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(archives, "_write", full)
    refuses(write(place / "a.zip"), "The disk became full", "Make room")


@pytest.mark.parametrize("members", [[("a", b"x"), ("a/b", b"x")], [("a/b", b"x"), ("a", b"x")]])
def test_a_name_that_is_both_file_and_folder_is_told(place, members):
    refuses(write(place / "a.zip", members), "cannot be unpacked")


@pytest.mark.parametrize("name", ["img_celeba.7z.001", "faces.7z", "faces.RAR"])
def test_other_kinds_say_how_to_unpack_them(place, name):
    (place / name).touch()
    assert is_archive(name)
    refuses(place / name, f"7z x '{name}'", "give the folder")


def test_what_is_no_archive_is_told(place):
    refuses(place / "missing.zip", "found nothing")
    (place / "folder.zip").mkdir()
    refuses(place / "folder.zip", "found a folder")
    (place / "face.png").touch()
    assert not is_archive(place / "face.png")
    refuses(place / "face.png", ".tar.bz2")


@pytest.mark.parametrize(
    ("suffix", "pack"), [(".zip", bytes), (".tar", bytes), (".tar.gz", gzip.compress), (".tar.xz", lzma.compress),
                         (".tar.bz2", bz2.compress)],
)  # fmt: skip
def test_a_web_page_with_an_archives_name_is_told(place, suffix, pack):
    (place / f"a{suffix}").write_bytes(pack(b"<html>Please log in</html>" * 100))
    refuses(place / f"a{suffix}", "damaged")


def test_several_at_once_unpack_it_once(place, monkeypatch):
    archive, calls, real = write(place / "a.zip"), [], archives._unpack

    def counted(*arguments):
        calls.append(arguments)
        real(*arguments)

    monkeypatch.setattr(archives, "_unpack", counted)
    threads = [threading.Thread(target=unpack, args=(archive,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert contents(place / "a.unpacked") == FACES


def test_the_marker_says_where_a_folder_came_from(place):
    archive = write(place / "a.zip", {".unpacked.json": b"forged"})
    marker = json.loads((unpack(archive) / ".unpacked.json").read_text())
    assert marker == {"archive": "a.zip", "size": archive.stat().st_size, "mtime_ns": archive.stat().st_mtime_ns}
