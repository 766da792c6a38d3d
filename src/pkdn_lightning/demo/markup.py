"""Custom HTML of the page as strings; all external text is escaped."""

from collections.abc import Sequence
from html import escape

import numpy as np

from pkdn_lightning.data.labels import LABELS, PALETTE
from pkdn_lightning.demo.actions import Pixels
from pkdn_lightning.demo.limits import Limits
from pkdn_lightning.demo.restorers import Models
from pkdn_lightning.demo.views import View, data_uri
from pkdn_lightning.files import file_sha256


def heading() -> str:
    """Returns the title, a description and a caution."""
    return (
        "<header><h1>Faces from a few pixels</h1>"
        "<p>Upload a photograph: faces in it that are too small or too blurred to make out are found, restored and put "
        "back. Everything else stays as it is.</p>"
        '<p class="caution"><strong>Plausible, not proven.</strong> The model invents the details. The result is '
        "no evidence of a person's identity and must not be used to identify anyone.</p></header>"
    )


def footer(models: Models, limits: Limits) -> str:
    """Returns the models, the limits and the handling of images."""
    named = "; ".join(f"{escape(model.name)} <code>{file_sha256(model.file)[:12]}</code>" for model in models.all())
    where = "on a GPU" if models.device.type == "cuda" else "on the CPU"
    minutes = limits.keep_s / 60
    return (
        f"<footer><p>Images are processed by this program only and deleted after "
        f"{f'{minutes:g} minutes' if minutes >= 1 else f'{limits.keep_s:g} seconds'}, or when it stops. Limits: "
        f"{limits.upload_mb:g} MB, {limits.megapixels:g} megapixels, {limits.faces} faces.</p>"
        f"<p>{named}, {where}.</p></footer>"
    )


def said(words: str, *, failed: bool = False, opening: bool = False) -> str:
    """Returns a status or error message that screen readers announce; `opening` marks that of the first example."""
    role, name = ("alert", "said failed") if failed else ("status", "said opening" if opening else "said")
    return f'<p class="{name}" role="{role}">{escape(words)}</p>' if words else ""


def pair(before: View, after: View, label: str) -> str:
    """Returns a face before and after its restoration, side by side on any screen.

    Args:
        before: What was uploaded, or the models' input.
        after: The restored face.
        label: Name of the face, for alternative texts.
    """
    sides = []
    for words, view in (("Before", before), ("After", after)):
        pixelated = "" if view.smooth else ' class="pixelated"'
        sides.append(
            f'<figure><img src="{data_uri(view.pixels)}" alt="{words}: {escape(label)}"{pixelated}>'
            f"<figcaption><strong>{words}</strong><span>{escape(view.about)}</span></figcaption></figure>"
        )
    return f'<div class="pair">{"".join(sides)}</div>'


def strip(shown: Sequence[View], label: str) -> str:
    """Returns the views of a face side by side, each with its name, values, and a link that saves it.

    Args:
        shown: The views.
        label: Name of the face, for alternative texts and file names.
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
    """Returns the legend of the classes in a parsing map; empty without one."""
    if parsing is None:
        return ""
    items = "".join(
        f'<li><i style="background: rgb{PALETTE[label]}"></i>{_WORDS.get(LABELS[label], LABELS[label])}</li>'
        for label in np.unique(parsing)
    )
    return (
        '<div class="legend"><h3>What the teacher sees</h3><p>The parsing map of the true face. The student '
        f"does not need it, because it learned from the teacher.</p><ul>{items}</ul></div>"
    )


_WORDS = {
    "eye_g": "glasses", "l_eye": "left eye", "r_eye": "right eye", "l_brow": "left brow", "r_brow": "right brow",
    "l_ear": "left ear", "r_ear": "right ear", "u_lip": "upper lip", "l_lip": "lower lip", "ear_r": "earring",
    "neck_l": "necklace", "cloth": "clothes",
}  # fmt: skip
