"""What publishers ship, made small: their folders, names and lists, filled with included portraits.

Photograph `number` shows the portrait of that number, so a test can say what has to come out of it.
"""

import shutil
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from pkdn_lightning.data.labels import LABELS
from pkdn_lightning.data.portraits import Portrait
from tests.conftest import real_face

FACE_PX = 64
PHOTO = (170, 160)  # width and height of a photograph with a face somewhere on it

# CelebA: 40 photographs of 20 people, two of each in a row; nobody is in two partitions.
CELEBA = {"train": range(1, 25), "val": range(25, 33), "test": range(33, 41)}

# CelebAMask-HQ: 12 faces, two of them in the second folder of masks.
HQ = [*range(10), 2000, 2001]

# Helen: which photographs lie in which of its five parts, and which of them are for test.
HELEN = {1: [1, 2, 3], 2: [4, 5], 3: [6, 7, 8], 4: [9, 10], 5: [11, 12]}
HELEN_TEST = [3, 6, 9, 12]

# LFW: how many images there are of each person.
LFW = {"Ann_Lee": 3, "Bob_Ray": 1, "Cy_Young": 2, "Di_Marsh": 4, "Ed_Gein_Jr": 2, "Flo_Jo": 8}

SKIN_LIES_UNDER = ("nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "mouth", "u_lip", "l_lip")


@cache
def face(number: int) -> Portrait:
    """Returns a portrait of 64 px."""
    return real_face(number, FACE_PX)


def place(number: int) -> tuple[int, int]:
    """Returns where on its photograph a face is: left, top."""
    draw = np.random.default_rng(number)
    return int(draw.integers(24, PHOTO[0] - FACE_PX - 24)), int(draw.integers(20, PHOTO[1] - FACE_PX - 24))


def photograph(number: int) -> Image.Image:
    """Returns a photograph with a face somewhere on it."""
    photo = Image.new("RGB", PHOTO, tuple(int(c) for c in np.random.default_rng(number).integers(60, 200, 3)))
    photo.paste(Image.fromarray(face(number).hr), place(number))
    return photo


def landmarks(number: int) -> np.ndarray:
    """Returns the 68 landmarks in the pixels of the photograph."""
    return face(number).landmarks + place(number)


def five(points: np.ndarray) -> np.ndarray:
    """Returns eyes, nose and corners of the mouth of 68 landmarks."""
    eyes = [points[36:42].mean(axis=0), points[42:48].mean(axis=0)]
    return np.stack([*eyes, points[30], points[48], points[54]])


def enlarged(number: int, side: int) -> Image.Image:
    """Returns a face of another size."""
    return Image.fromarray(face(number).hr).resize((side, side), Image.Resampling.BICUBIC)


def save(image: Image.Image, file: Path) -> None:
    """Saves a JPEG from which little is lost."""
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file, quality=95, subsampling=0)


def write(file: Path, lines: list[str]) -> None:
    """Writes a list."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def celeba_name(number: int) -> str:
    """Returns the name of a photograph of CelebA."""
    return f"{number:06d}.jpg"


def celeba_person(number: int) -> str:
    """Returns who is on a photograph of CelebA."""
    return str(100 + (number - 1) // 2)


def celeba(root: Path, *, reverse: bool = False) -> Path:
    """Makes CelebA in the wild; `reverse` writes the files in another order."""
    numbers = [number for part in CELEBA.values() for number in part]
    for number in numbers[::-1] if reverse else numbers:
        save(photograph(number), root / "Img/img_celeba" / celeba_name(number))
    points = {number: five(landmarks(number)) for number in numbers}
    _celeba_lists(root, points, "list_landmarks_celeba.txt")
    boxes = [f"{celeba_name(number)} {' '.join(map(str, place(number)))} {FACE_PX} {FACE_PX}" for number in numbers]
    write(root / "Anno/list_bbox_celeba.txt", [str(len(boxes)), "image_id x_1 y_1 width height", *boxes])
    return root


def celeba_aligned(root: Path) -> Path:
    """Makes the aligned images of CelebA, whose fixed box shows exactly the portrait."""
    points = {}
    for number in (number for part in CELEBA.values() for number in part):
        image = Image.new("RGB", (178, 218), "gray")
        image.paste(enlarged(number, 128), (25, 45))
        save(image, root / "Img/img_align_celeba" / celeba_name(number))
        points[number] = five(face(number).landmarks) * (128 / FACE_PX) + (25, 45)
    _celeba_lists(root, points, "list_landmarks_align_celeba.txt")
    return root


def _celeba_lists(root: Path, points: dict[int, np.ndarray], name: str) -> None:
    columns = [f"{part}_{axis}" for part in ("lefteye", "righteye", "nose", "leftmouth", "rightmouth") for axis in "xy"]
    lines = [f"{celeba_name(n)}  {'  '.join(str(round(v)) for v in p.ravel())}" for n, p in points.items()]
    write(root / "Anno" / name, [str(len(lines)), " ".join(columns), *lines])
    write(root / "Anno/identity_CelebA.txt", [f"{celeba_name(number)} {celeba_person(number)}" for number in points])
    lines = [f"{celeba_name(n)} {part}" for part, numbers in enumerate(CELEBA.values()) for n in numbers]
    write(root / "Eval/list_eval_partition.txt", lines)


def hq_original(number: int) -> str:
    """Returns the name that a face of CelebAMask-HQ has in CelebA."""
    return f"{(number * 7 + 5) % 9000:06d}.jpg"


def hq_split(number: int) -> str:
    """Returns the official split of a face of CelebAMask-HQ."""
    return ("train", "train", "train", "val", "test")[number % 5]


def celebamask_hq(root: Path) -> Path:
    """Makes CelebAMask-HQ: faces of 256 px and masks of 128 px that overlap as the publisher's do."""
    top = root / "CelebAMask-HQ"
    for number in HQ:
        save(enlarged(number, 256), top / "CelebA-HQ-img" / f"{number}.jpg")
        masks = top / "CelebAMask-HQ-mask-anno" / str(number // 2000)
        masks.mkdir(parents=True, exist_ok=True)
        labels = face(number).parsing.repeat(2, axis=0).repeat(2, axis=1)
        for label, part in enumerate(LABELS[1:], 1):
            shown = [label]
            if part == "skin":
                shown += [LABELS.index(name) for name in SKIN_LIES_UNDER]
            if part == "mouth":
                shown += [LABELS.index("u_lip"), LABELS.index("l_lip")]
            if part == "hair":
                shown += [LABELS.index("hat")]
            mask = np.isin(labels, shown)
            if mask.any():
                image = Image.fromarray(mask.astype(np.uint8) * 255).convert("RGB")
                image.save(masks / f"{number:05d}_{part}.png")
    rows = [f"{n:<8} {int(hq_original(n)[:6]) - 1:<8} {hq_original(n)}" for n in HQ]
    write(top / "CelebA-HQ-to-CelebA-mapping.txt", ["idx      orig_idx  orig_file", *rows])
    return root


def celebamask_hq_lists(folder: Path) -> None:
    """Adds the lists of CelebA that make the splits official; two neighbours are the same person."""
    parts = {"train": 0, "val": 1, "test": 2}
    write(folder / "list_eval_partition.txt", [f"{hq_original(n)} {parts[hq_split(n)]}" for n in HQ])
    write(folder / "identity_CelebA.txt", [f"{hq_original(n)} {n}" for n in HQ])


def helen_name(number: int) -> str:
    """Returns the name of a photograph of Helen."""
    return f"{100032540 + 7919 * number % 100}_{number}"


def helen(root: Path) -> Path:
    """Makes Helen: five folders, 194 landmarks each, and the official lists."""
    numbers = [number for part in HELEN.values() for number in part]
    for part, members in HELEN.items():
        for number in members:
            save(photograph(number), root / f"helen_{part}" / f"{helen_name(number)}.jpg")
    for file, number in enumerate(sorted(numbers, key=lambda number: number * 5 % 13), 1):
        points = landmarks(number)
        more = (points[:-1] + points[1:]) / 2  # between the others, so the square around them stays
        points = np.concatenate([points, more, more])[:194]
        write(root / f"annotation/{file}.txt", [helen_name(number), *(f"{x:.6f} , {y:.6f}" for x, y in points)])
    write(root / "trainnames.txt", [helen_name(number) for number in numbers if number not in HELEN_TEST])
    write(root / "testnames.txt", [helen_name(number) for number in HELEN_TEST])
    return root


def congress(root: Path, count: int = 12) -> Path:
    """Makes the repository of the members' portraits, which holds them in several sizes."""
    for number in range(1, count + 1):
        for size, side in {"original": 160, "225x275": 120}.items():
            portrait = Image.new("RGB", (side * 3 // 2, side * 2), "navy")
            portrait.paste(enlarged(number, side), (side // 4, side // 4))
            save(portrait, root / f"images-gh-pages/congress/{size}/A{number:06d}.jpg")
    write(root / "images-gh-pages/README.md", ["Public domain images of members of Congress"])
    return root


def lfw(root: Path) -> Path:
    """Makes LFW, whose fixed box shows exactly the portrait."""
    number = 0
    for person, count in LFW.items():
        for shot in range(1, count + 1):
            image = Image.new("RGB", (250, 250), "gray")
            image.paste(enlarged(number, 150), (50, 45))
            save(image, root / "lfw-deepfunneled" / person / f"{person}_{shot:04d}.jpg")
            number += 1
    return root


def pack(folder: Path, archive: Path) -> Path:
    """Packs a folder, its own name on top, and takes it away."""
    kind = {".zip": "zip", ".tgz": "gztar", ".tar": "tar"}[archive.suffix]
    made = shutil.make_archive(str(folder.parent / "packed"), kind, folder.parent, folder.name)
    shutil.rmtree(folder)
    archive.parent.mkdir(parents=True, exist_ok=True)
    return Path(made).replace(archive)


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    """Returns the size and the time of every file below a folder."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): (file.stat().st_size, file.stat().st_mtime_ns) for file in files}
