"""The parts of the page that are HTML of our own: plain strings, everything from outside escaped."""

from collections.abc import Sequence
from html import escape

import numpy as np

from pkdn_lightning.data.labels import LABELS, PALETTE
from pkdn_lightning.demo.actions import Pixels
from pkdn_lightning.demo.limits import Limits
from pkdn_lightning.demo.restorers import Models
from pkdn_lightning.demo.views import View, data_uri


def heading(models: Models) -> str:
    """Returns the title, what this is in a line, and what it is not."""
    lr, hr = models.first.lr_px, models.first.hr_px
    return (
        "<header><h1>Faces from a few pixels</h1>"
        f"<p>A face of {lr}×{lr} pixels becomes one of {hr}×{hr}. Drop an image, or try a drawn face.</p>"
        '<p class="caution"><strong>Plausible, not proven.</strong> The details are invented to fit: what you see is '
        "no evidence of who somebody is, and must not be used to identify anyone.</p></header>"
    )


def footer(models: Models, limits: Limits) -> str:
    """Returns which models these are, and what becomes of images."""
    named = "; ".join(
        f"{escape(student.name)} <code>{student.restorer.sha256[:12]}</code>" for student in models.students
    )
    where = "on a GPU" if models.device.type == "cuda" else "on the CPU"
    minutes = limits.keep_s / 60
    return (
        f"<footer><p>Images are worked on by this program alone, and deleted after "
        f"{f'{minutes:g} minutes' if minutes >= 1 else f'{limits.keep_s:g} seconds'}, or when it ends. At most "
        f"{limits.upload_mb:g} MB, {limits.megapixels:g} megapixels, {limits.faces} faces.</p>"
        f"<p>{named}, {where}.</p></footer>"
    )


def said(words: str, *, failed: bool = False) -> str:
    """Returns what was done, or why nothing was, so that screen readers say it as well."""
    role, name = ("alert", "said failed") if failed else ("status", "said")
    return f'<p class="{name}" role="{role}">{escape(words)}</p>' if words else ""


def strip(shown: Sequence[View], label: str) -> str:
    """Returns the views of a face side by side, each with its name, values, and a link that saves it.

    Args:
        shown: The views.
        label: Which face, for alternative texts and names of files.
    """
    return f'<div class="strip">{"".join(_figure(view, label) for view in shown)}</div>'


def _figure(view: View, label: str) -> str:
    name, address = escape(view.name), data_uri(view.pixels)
    file = "_".join(f"{label} {view.name}".lower().replace("/", " ").split())
    pixelated = "" if view.smooth else ' class="pixelated"'
    values = f'<span class="values">{view.values}</span>' if view.values else ""
    return (
        f'<figure><img src="{address}" alt="{name} of {escape(label)}: {escape(view.about)}"{pixelated}>'
        f"<figcaption><strong>{name.replace('_', '_<wbr>')}</strong><span>{escape(view.about)}</span>{values}"
        f'<a href="{address}" download="{escape(file)}.png" aria-label="Save {name} of {escape(label)}">Save</a>'
        "</figcaption></figure>"
    )


def legend(parsing: Pixels | None) -> str:
    """Returns what the colours of a parsing map mean, of the classes that occur in it; nothing without one."""
    if parsing is None:
        return ""
    items = "".join(
        f'<li><i style="background: rgb{PALETTE[label]}"></i>{_WORDS.get(LABELS[label], LABELS[label])}</li>'
        for label in np.unique(parsing)
    )
    return (
        '<div class="legend"><h3>What the teacher sees</h3><p>The parsing map of the true face. The student never '
        f"gets it: it learned from this teacher what a map would have told it.</p><ul>{items}</ul></div>"
    )


_WORDS = {
    "eye_g": "glasses", "l_eye": "left eye", "r_eye": "right eye", "l_brow": "left brow", "r_brow": "right brow",
    "l_ear": "left ear", "r_ear": "right ear", "u_lip": "upper lip", "l_lip": "lower lip", "ear_r": "earring",
    "neck_l": "necklace", "cloth": "clothes",
}  # fmt: skip
