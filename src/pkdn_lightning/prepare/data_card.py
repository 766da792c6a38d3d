"""What a person looks at before training: contact sheets, a label histogram, duplicates, and a data card.

    card.md            counts, sizes, how the data was made, licence and terms
    sheet_<split>.png  faces beside their coloured maps
    labels.csv, .png   how much of the images each label covers, and in how many faces it occurs
    duplicates.csv     pairs of faces that show the same image

Everything is a function of the store's arrays, so it is the same whenever it is made.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pkdn_lightning.data.labels import LABELS, PALETTE
from pkdn_lightning.data.store import SPLITS, Entry, blocks, read_index
from pkdn_lightning.markdown import plain
from pkdn_lightning.prepare.duplicates import Duplicate, find_duplicates
from pkdn_lightning.prepare.store_writer import csv_line

_SHOWN = 48  # faces on a sheet
_ACROSS = 6
_TITLE_PX = 20


def describe(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Writes card, sheets, histogram and duplicates into the folder of a store that is about to be finished."""
    entries = read_index(folder)
    hr = np.load(folder / "hr.npy", mmap_mode="r")
    parsing = np.load(folder / "parsing.npy", mmap_mode="r") if (folder / "parsing.npy").is_file() else None
    rows = {split: [row for row, entry in enumerate(entries) if entry.split == split] for split in SPLITS}
    for split, members in rows.items():
        if members:
            shown = np.unique(np.linspace(0, len(members) - 1, _SHOWN).round().astype(int))
            sheet = contact_sheet(hr, parsing, entries, [members[place] for place in shown])
            sheet.save(folder / f"sheet_{split}.png")
    if parsing is not None:
        counts, total = count_labels(folder / "parsing.npy"), len(entries)
        shares = [
            (str(label), name, f"{pixels:.6f}", str(int(faces)), f"{faces / total:.6f}")
            for label, (name, pixels, faces) in enumerate(zip(LABELS, *counts, strict=True))
        ]
        _write_csv(folder / "labels.csv", ("label", "name", "pixels_share", "faces", "faces_share"), shares)
        label_chart(counts, total).save(folder / "labels.png")
    duplicates = find_duplicates(folder / "hr.npy", entries)
    pairs = [(a.split, a.name, b.split, b.name, f"{correlation:.4f}") for a, b, correlation in duplicates]
    _write_csv(folder / "duplicates.csv", ("split", "name", "other_split", "other_name", "correlation"), pairs)
    card = _card(manifest, hr.shape[1], duplicates, Counter(entry.split for entry in entries if entry.identity))
    (folder / "card.md").write_text(card, encoding="utf-8")


def contact_sheet(
    hr: NDArray[np.uint8], parsing: NDArray[np.uint8] | None, entries: tuple[Entry, ...], rows: list[int]
) -> Image.Image:
    """Returns faces beside their coloured maps, each pair under the face's name."""
    size = hr.shape[1]
    wide = size if parsing is None else 2 * size
    down = -(-len(rows) // _ACROSS)
    sheet = Image.new("RGB", (min(len(rows), _ACROSS) * wide, down * (size + _TITLE_PX)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
    palette = np.array(PALETTE, dtype=np.uint8)
    for place, row in enumerate(rows):
        x, y = place % _ACROSS * wide, place // _ACROSS * (size + _TITLE_PX)
        name = entries[row].name
        draw.text((x + 3, y + 4), name if len(name) < wide // 7 else name[: wide // 7] + "…", fill="black", font=font)
        sheet.paste(Image.fromarray(np.asarray(hr[row])), (x, y + _TITLE_PX))
        if parsing is not None:
            sheet.paste(Image.fromarray(palette[parsing[row]]), (x + size, y + _TITLE_PX))
    return sheet


def count_labels(file: Path) -> NDArray[np.float64]:
    """Returns (2, 19): the share of all pixels that each label covers, and in how many faces it occurs."""
    pixels, faces = np.zeros(len(LABELS), dtype=np.int64), np.zeros(len(LABELS), dtype=np.int64)
    for block in blocks(file):
        places = block.reshape(len(block), -1).astype(np.int32) + np.arange(len(block))[:, None] * len(LABELS)
        counts = np.bincount(places.ravel(), minlength=len(block) * len(LABELS)).reshape(len(block), len(LABELS))
        pixels += counts.sum(axis=0)
        faces += (counts > 0).sum(axis=0)
    return np.stack([pixels / max(1, pixels.sum()), faces.astype(np.float64)])


def label_chart(counts: NDArray[np.float64], total: int) -> Image.Image:
    """Returns a bar chart: the share of faces in which each label occurs, with both shares as figures."""
    row_px, name_px, bar_px = 18, 90, 320
    chart = Image.new("RGB", (name_px + bar_px + 190, row_px * (len(LABELS) + 1) + 8), "white")
    draw, font = ImageDraw.Draw(chart), ImageFont.load_default(size=12)
    draw.text((name_px, 3), "share of faces with the label  |  of all pixels", fill="black", font=font)
    for label, (name, colour) in enumerate(zip(LABELS, PALETTE, strict=True)):
        y = row_px * (label + 1) + 4
        share, pixels = counts[1, label] / total, counts[0, label]
        draw.text((6, y), name, fill="black", font=font)
        draw.rectangle((name_px, y + 1, name_px + round(share * bar_px), y + 13), fill=colour, outline="black")
        draw.text((name_px + bar_px + 10, y), f"{share:.1%}  |  {pixels:.2%}", fill="black", font=font)
    return chart


def _write_csv(file: Path, header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    file.write_bytes(b"".join(csv_line(row) for row in (header, *rows)))


def _card(manifest: Mapping[str, Any], size_px: int, duplicates: list[Duplicate], identified: Mapping[str, int]) -> str:
    made = manifest["provenance"]
    across = sum(pair.across for pair in duplicates)
    rejected = ", ".join(f"{reason} {count:,}" for reason, count in manifest["rejected"].items())
    lines = [
        f"# Data card: {plain(manifest['name'])}",
        "",
        "| split | faces | of known identity |",
        "| --- | ---: | ---: |",
        *(f"| {split} | {count:,} | {identified.get(split, 0):,} |" for split, count in manifest["splits"].items()),
        "",
        f"Faces of {size_px}x{size_px} px, 8-bit RGB, in `hr.npy`; label ids 0..{len(LABELS) - 1} of the "
        "CelebAMask-HQ classes in `parsing.npy`, where there is one.",
        "",
        "## How it was made",
        "",
        *(f"- {key.replace('_', ' ')}: {_words(value)}" for key, value in made.items() if key not in _TERMS),
        f"- photographs that became no face: {rejected or 'none'} (`rejects.csv`)",
        f"- pairs that show the same image: {len(duplicates):,}, of them {across:,} across splits (`duplicates.csv`)",
        "",
        "## Licence and terms of the source",
        "",
        *(f"- {key}: {_words(made[key])}" for key in _TERMS if made.get(key)),
        *([] if any(made.get(key) for key in _TERMS) else ["Not known: they are those of the photographs' owner."]),
        "",
        "## SHA-256",
        "",
        *(f"    {digest}  {file}" for file, digest in manifest["sha256"].items()),
        "",
    ]
    return "\n".join(lines)


_TERMS = ("licence", "terms", "homepage", "cite")


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{plain(key)} {_words(each)}" for key, each in value.items())
    return "none" if value is None else plain(value)
