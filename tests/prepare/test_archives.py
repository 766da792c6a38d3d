"""Archives: what is unpacked, and every way in which one can be wrong or hostile."""

import bz2
import contextlib
import errno
import gzip
import io
import lzma
import os
import shutil
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
from pkdn_lightning.files import read_json
from pkdn_lightning.prepare import archives
from pkdn_lightning.prepare.archives import is_archive, unpack

FACES = {"faces/one face.png": b"one" * 1000, "faces/gesicht äöü 顔.png": b"two" * 10, "faces/deep/er/empty.png": b""}
NOISE = {f"{number}.png": np.random.default_rng(number).bytes(5000) for number in range(5)}
KINDS = (".zip", ".tar", ".tar.gz", ".tar.xz", ".tar.bz2")


def write(path, members=FACES, *, method=zipfile.ZIP_DEFLATED):
    """Writes an archive of any kind; names may be TarInfos or ZipInfos, which stand for strange members."""
    members = list(members.items() if isinstance(members, dict) else members)
    if path.name.lower().endswith(".zip"):
        with warnings.catch_warnings(), zipfile.ZipFile(path, "w", method) as file:
            warnings.simplefilter("ignore")  # duplicate names are made on purpose
            for name, content in members:
                file.writestr(name, content)
    else:
        packing = path.name.rpartition(".")[2].replace("tgz", "gz")
        with tarfile.open(path, f"w:{packing if packing != 'tar' else ''}") as file:
            for name, content in members:
                entry = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
                entry.size = len(content)
                file.addfile(entry, io.BytesIO(content))
    return path


def patched(archive, change):
    """Returns the archive with its bytes changed in place."""
    packed = bytearray(archive.read_bytes())
    change(packed)
    archive.write_bytes(packed)
    return archive


def zip_flags(change):
    """Returns a function that changes the flags of the first member in both of its headers."""

    def apply(packed):
        for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            at = packed.index(signature) + offset
            struct.pack_into("<H", packed, at, change(struct.unpack_from("<H", packed, at)[0]))

    return apply


def contents(folder):
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != ".unpacked.json")
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def around(place):
    return {file for file in place.parent.rglob("*") if not file.name.endswith(".lock")}


def refuses(archive, *words):
    """Checks that nothing is unpacked, nothing is left, and the message has the words."""
    before = around(archive.parent)
    with pytest.raises(DataError) as error:
        unpack(archive)
    for word in (archive.name, *words):
        assert word in str(error.value)
    assert around(archive.parent) == before
    assert str(error.value).count("\n") < 4


@pytest.fixture
def place(tmp_path):
    """A folder whose parent is watched, too."""
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


@pytest.mark.parametrize("suffix", [*KINDS, ".tgz", ".ZIP"])
def test_every_kind_is_unpacked_once_beside_itself(place, monkeypatch, suffix):
    archive = write(place / f"my faces{suffix}")
    folder = unpack(archive)
    assert folder == place / "my faces.unpacked"
    assert contents(folder) == FACES
    assert is_archive(archive)
    assert sorted(file.name for file in place.iterdir() if file.name[0] != ".") == sorted([archive.name, folder.name])
    monkeypatch.setattr(archives, "_unpack", lambda *_: pytest.fail("unpacked again"))
    assert unpack(archive) == folder


@pytest.mark.parametrize("suffix", KINDS)
def test_the_name_does_not_matter(place, suffix):
    archive = write(place / f"a{suffix}").rename(place / "81855b95-5976015")  # as some servers call their files
    assert contents(unpack(archive)) == FACES


def test_a_changed_archive_replaces_its_folder_and_what_a_killed_process_left(place):
    folder = unpack(write(place / "a.zip"))
    for left in ("a.unpacked/stale", "a.unpacked.partial/x", "a.unpacked.old/x"):
        (place / left).mkdir(parents=True)
    archive = write(place / "a.zip", {"new.png": b"new"})
    assert contents(unpack(archive)) == {"new.png": b"new"}
    status = archive.stat()
    os.utime(archive, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))  # of the same size
    (folder / "stale").touch()
    assert contents(unpack(archive)) == {"new.png": b"new"}
    assert not list(place.glob("*.old")) + list(place.glob("*.partial"))
    archive.write_bytes(b"damaged")
    refuses(archive, "damaged")
    assert contents(folder) == {"new.png": b"new"}


def test_a_folder_made_by_someone_else_is_left_alone(place):
    (place / "a.unpacked").mkdir()
    (place / "a.unpacked" / "thesis.txt").write_text("mine")
    refuses(write(place / "a.zip"), "a.unpacked is already there", "move it away")
    assert (place / "a.unpacked" / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "name",
    ["/etc/evil", "\\\\server\\evil", "../evil", "good/../../evil", "good\\..\\..\\evil", "..", ".. /evil", "C:\\evil",
     "good/c:evil", "good/ .../evil"],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_paths_that_lead_elsewhere_unpack_nothing(place, suffix, name):
    refuses(write(place / f"a{suffix}", {"good.png": b"good", name: b"evil"}), repr(name), "leads out")


def test_a_zero_byte_in_a_name_is_refused(place):
    archive = write(place / "a.zip", {"good.png": b"good", "evil_.png": b"evil"})
    archive.write_bytes(archive.read_bytes().replace(b"evil_", b"evil\0"))
    refuses(archive, r"evil\x00.png", "leads out")


def special(kind):
    if isinstance(kind, bytes):
        entry = tarfile.TarInfo("odd")
        entry.type, entry.linkname = kind, "good.png"
        return ".tar", entry
    entry = zipfile.ZipInfo("odd")
    entry.external_attr = (kind | 0o777) << 16
    return ".zip", entry


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, stat.S_IFLNK, stat.S_IFIFO,
     stat.S_IFCHR, stat.S_IFSOCK],
)  # fmt: skip
def test_links_and_devices_unpack_nothing(place, kind):
    suffix, entry = special(kind)
    content = b"" if suffix == ".tar" else b"good.png"
    refuses(write(place / f"a{suffix}", [("good.png", b"good"), (entry, content)]), "'odd'", "is a link or a device")


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_of_equal_names_the_last_stays_and_clutter_is_left_out(place, suffix):
    members = [("a.png", b"long first"), ("a.png", b"last"), ("./b//c.png", b"c"), ("d\\e", b"e")]
    clutter = ("__MACOSX/faces/._a.png", "faces/._a.png", "faces/.DS_Store", "Thumbs.db")
    folder = unpack(write(place / f"a{suffix}", [*members, *((name, b"x") for name in clutter)]))
    assert contents(folder) == {"a.png": b"last", "b/c.png": b"c", "d/e": b"e"}
    assert not (folder / "__MACOSX").exists()


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
    archive = patched(write(place / "a.zip", {"ä顔.png": b"x"}), zip_flags(lambda flags: flags & ~0x800))
    assert contents(unpack(archive)) == {"ä顔.png": b"x"}


def test_an_encrypted_zip_is_refused(place):
    archive = patched(write(place / "a.zip", {"secret.png": b"secret"}), zip_flags(lambda flags: flags | 1))
    refuses(archive, "encrypted", "secret.png", "7z x")


def test_a_method_that_python_does_not_know_is_told(place):
    archive = write(place / "a.zip")
    packed = archive.read_bytes()
    for header in (b"PK\x03\x04\x14", b"PK\x01\x02\x14\x03\x14"):
        packed = packed.replace(header + b"\0\0\0\x08", header + b"\0\0\0\x09")
    archive.write_bytes(packed)
    refuses(archive, "7z x")


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("part", [0.0, 0.3, 0.6, 0.97])
def test_a_truncated_archive_is_told(place, suffix, part):
    archive = write(place / f"a{suffix}", NOISE)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int((len(whole) if suffix != ".tar" else 28_000) * part)])
    refuses(archive, "is damaged", "download it again")


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz", ".tar.xz", ".tar.bz2"])
def test_changed_bytes_are_told(place, suffix):
    def change(packed):
        packed[len(packed) // 2] ^= 0xFF

    refuses(patched(write(place / f"a{suffix}", NOISE, method=zipfile.ZIP_STORED), change), "is damaged")


@pytest.mark.parametrize("damage", ["cut between two members", "a damaged header"])
def test_damage_does_not_pass_for_the_end_of_a_tar(place, damage):
    def change(packed):
        if damage == "a damaged header":
            packed[3 * 1024 + 148] ^= 0xFF
        else:
            del packed[3 * 1024 :]

    archive = write(place / "a.tar", {f"{number}.png": bytes(512) for number in range(5)})
    refuses(patched(archive, change), "damaged", "end mark")


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_random_damage_never_crashes(place, suffix):
    archive = write(place / f"a{suffix}")
    packed, draw = archive.read_bytes(), np.random.default_rng(7)
    for number in range(60):
        spoiled = bytearray(packed)
        for at in draw.integers(0, min(len(packed), 6000), 1 + number % 4):
            spoiled[at] = draw.integers(256)
        archive.write_bytes(spoiled)
        with contextlib.suppress(DataError):
            assert unpack(archive).is_dir()
    assert not list(place.glob("*.partial"))
    assert {path.name for path in place.parent.iterdir()} == {"place"}


@pytest.mark.parametrize(
    ("size", "words"), [(10, "damaged"), (5000, "damaged"), (0xFFFF_FFF0, "4.3 GB, more than 1000:1")]
)
def test_a_zip_that_lies_about_a_size_is_told(place, size, words):
    def lie(packed):
        struct.pack_into("<I", packed, packed.index(b"PK\x01\x02") + 24, size)

    refuses(patched(write(place / "a.zip", {"a.png": bytes(3000)}), lie), words)


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_a_bomb_is_refused(place, monkeypatch, suffix):
    monkeypatch.setattr(archives, "_HARMLESS", 100_000)
    monkeypatch.setattr(archives, "_RATIO", 100)
    refuses(write(place / f"a{suffix}", {"a.png": bytes(1_000_000)}), "100:1", "1.0 MB")
    assert contents(unpack(write(place / f"b{suffix}", {"a.png": bytes(90_000)})))


def test_a_full_disk_is_told(place, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    archive = write(place / "a.zip", {"a.png": bytes(100_000)})
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", full)
        refuses(archive, "No space left", "Make room")
    usage = namedtuple("usage", "total used free")(10**9, 10**9, 50_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    refuses(archive, "100.0 kB would be written, 50.0 kB are free", "Make room")


@pytest.mark.parametrize("members", [[("a", b"x"), ("a/b", b"x")], [("a/b", b"x"), ("a", b"x")]])
def test_a_name_that_is_both_file_and_folder_is_told(place, members):
    refuses(write(place / "a.zip", members), "cannot be unpacked")


@pytest.mark.parametrize("name", ["img_celeba.7z.001", "faces.7z", "faces.RAR"])
def test_other_kinds_say_how_to_unpack_them(place, name):
    (place / name).touch()
    assert is_archive(name)
    refuses(place / name, f"7z x '{name}'", "give the folder")


def test_what_is_not_an_archive_is_told(place):
    refuses(place / "missing.zip", "found nothing")
    (place / "folder.zip").mkdir()
    refuses(place / "folder.zip", "found a folder")
    (place / "face.png").write_bytes(b"pixels")
    assert not is_archive(place / "face.png")
    refuses(place / "face.png", "not an archive")
    packers = (bytes, bytes, gzip.compress, lzma.compress, bz2.compress)
    for suffix, pack in zip(KINDS, packers, strict=True):
        (place / f"a{suffix}").write_bytes(pack(b"<html>Please log in</html>" * 100))
        refuses(place / f"a{suffix}", "not an archive")


def test_several_at_once_unpack_it_once(place, monkeypatch):
    archive, calls, real = write(place / "a.zip", {**FACES, ".unpacked.json": b"forged"}), [], archives._unpack
    monkeypatch.setattr(archives, "_unpack", lambda *arguments: (calls.append(arguments), real(*arguments)))
    threads = [threading.Thread(target=unpack, args=(archive,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert contents(place / "a.unpacked") == FACES
    status = archive.stat()
    marker = {"archive": "a.zip", "size": status.st_size, "mtime_ns": status.st_mtime_ns}
    assert read_json(place / "a.unpacked/.unpacked.json") == marker
