"""The layout and the event handlers of the page; see `actions` and `views` for the work behind them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import gradio as gr
from PIL import Image, ImageOps

from pkdn_lightning.demo import markup
from pkdn_lightning.demo.actions import Result, open_upload, restore_image, whole_image
from pkdn_lightning.demo.examples import Example
from pkdn_lightning.demo.limits import Limits
from pkdn_lightning.demo.restorers import Models
from pkdn_lightning.demo.views import BICUBIC, LR, large, views
from pkdn_lightning.errors import PKDNError
from pkdn_lightning.faces.rejection import Rejected
from pkdn_lightning.predict.routing import Mode

MODES: Final[Mapping[str, Mode]] = {
    "Automatic": "auto",
    "A tiny face": "lr",
    "A face fills it": "aligned",
    "A photograph": "photo",
}
_BEGIN: Final = "Upload an image, take a photograph, or try an example face."
_OPENING: Final = (
    "An example: a portrait reduced to a few pixels, and the face that is made from them. Upload an image of your own, "
    "or try another example."
)
_FULL: Final = 100  # % of the restored face in a photograph
_SHOWN: Final = (1600, 1600)  # maximum pixels of a photograph on the page; the saved file has all of them

# Options of a gallery for choosing one image; its captions are also the alternative texts.
_CHOOSING: Final[Mapping[str, Any]] = {
    "columns": 6, "allow_preview": False, "object_fit": "cover", "buttons": [], "show_label": False, "format": "png",
    "interactive": False, "elem_classes": "choosing",
}  # fmt: skip

STYLE: Final = Path(__file__).with_name("page.css")


class _Given(NamedTuple):
    """The input components."""

    image: gr.Image
    mode: gr.Radio
    restore: gr.Button


class _Shown(NamedTuple):
    """The output components."""

    result: gr.State
    number: gr.State
    said: gr.HTML
    all: gr.Column
    heading: gr.HTML
    faces: gr.Gallery
    left: gr.Dropdown
    right: gr.Dropdown
    pair: gr.HTML
    slider: gr.ImageSlider
    divider: gr.Slider
    strip: gr.HTML
    legend: gr.HTML
    whole: gr.Column
    put_back: gr.CheckboxGroup
    strength: gr.Slider
    photo: gr.ImageSlider
    save: gr.DownloadButton


# Gradio's semibold font files are incomplete, hence 700 for bold.
_FONT: Final = (gr.themes.LocalFont("Source Sans Pro", weights=(400, 700)), "system-ui", "sans-serif")


def theme() -> gr.themes.Base:
    """Returns the page's colours and fonts, which come with Gradio."""
    return gr.themes.Default(
        primary_hue="teal", secondary_hue="teal", neutral_hue="slate", radius_size="lg", font=_FONT
    )


def build_page(models: Models, limits: Limits, examples: Sequence[Example], folder: Path) -> gr.Blocks:
    """Returns the page.

    Args:
        models: The models.
        limits: Limits per user.
        examples: Example images.
        folder: Folder for restored photographs; the server deletes old files.
    """
    with gr.Blocks(title="PKDN: faces from a few pixels", analytics_enabled=False, fill_width=False) as page:
        gr.HTML(markup.heading(), padding=False)
        with gr.Row(elem_id="sides"):
            with gr.Column(scale=2, min_width=300):
                given = _given(examples)
            with gr.Column(scale=3, min_width=300):
                shown = _shown(limits)
        gr.HTML(markup.footer(models, limits), padding=False)
        clicks = _Clicks(models, limits, folder)
        _connect(given, shown, clicks)
        _open(page, shown, clicks, examples[0])
    return page


def _given(examples: Sequence[Example]) -> _Given:
    image = gr.Image(
        label="Image", type="filepath", image_mode=None, height=300, elem_id="image", buttons=[],
        sources=["upload", "webcam", "clipboard"],
    )  # fmt: skip
    mode = gr.Radio(list(MODES), value=next(iter(MODES)), label="What is it?", elem_id="mode")
    restore = gr.Button("Restore", variant="primary", elem_id="restore")
    gr.HTML("<h3>Examples</h3>", padding=False)
    tried = gr.Gallery(
        [(str(example.file), example.name) for example in examples], label="Examples", elem_id="examples",
        **_CHOOSING,
    )  # fmt: skip

    def give(event: gr.SelectData) -> str:
        return str(examples[event.index].file)

    tried.select(give, None, image, show_progress="hidden", api_visibility="private")
    return _Given(image, mode, restore)


def _shown(limits: Limits) -> _Shown:
    result: Any = gr.State(None, time_to_live=limits.keep_s)
    number: Any = gr.State(0)
    said = gr.HTML(markup.said(_BEGIN), elem_id="said", padding=False)
    with gr.Column(visible=False, elem_id="result") as everything:
        with gr.Column(visible=False, elem_id="whole") as whole:
            put_back = gr.CheckboxGroup(label="Paste back into the photograph", elem_id="put-back")
            strength = gr.Slider(0, 100, _FULL, step=5, label="Strength, %", elem_id="strength", buttons=[],
                                 info="Share of the restored face; the rest is the original.")  # fmt: skip
            photo = gr.ImageSlider(label="Photograph: before and after", format="jpeg", buttons=["fullscreen"],
                                   elem_id="photo", max_height=560)  # fmt: skip
            save = gr.DownloadButton("Save the photograph", elem_id="save")
        heading = gr.HTML("<h3>Faces: choose one</h3>", padding=False, visible=False)
        faces = gr.Gallery(label="Faces: choose one", elem_id="faces", **_CHOOSING)
        pair = gr.HTML(elem_id="pair", padding=False)
        with gr.Row(elem_id="which"):
            left = gr.Dropdown(label="Left", elem_id="left", min_width=120, filterable=False)
            right = gr.Dropdown(label="Right", elem_id="right", min_width=120, filterable=False)
        slider = gr.ImageSlider(label="Drag to compare", format="png", buttons=["fullscreen"], elem_id="slider",
                                max_height=560)  # fmt: skip
        divider = gr.Slider(0, 100, 50, step=1, label="Divider, %", elem_id="divider",
                            buttons=[])  # for keyboard users  # fmt: skip
        strip = gr.HTML(elem_id="strip", padding=False)
        legend = gr.HTML(elem_id="legend", padding=False)
    return _Shown(
        result, number, said, everything, heading, faces, left, right, pair, slider, divider, strip, legend, whole,
        put_back, strength, photo, save,
    )  # fmt: skip


class _Clicks:
    """Event handlers: from values of components to updates of components."""

    def __init__(self, models: Models, limits: Limits, folder: Path) -> None:
        self.models, self.limits, self.folder = models, limits, folder

    def restore(self, file: str | None, mode: str, left: str | None, right: str | None) -> dict[str, Any]:
        """Restores an image and shows one of its faces: in a photograph the largest that was restored."""
        if file is None:
            return self.nothing(_BEGIN, failed=False)
        try:
            image = open_upload(Path(file), self.limits)
            result = restore_image(image, self.models, self.limits, MODES.get(mode, "auto"))
        except PKDNError as error:
            return self.nothing(error.detail if isinstance(error, Rejected) else str(error))
        several, is_photo = len(result.faces) > 1, result.mode == "photo"
        names, first = _names(result), result.low_res[0] if is_photo and result.low_res else 0
        return {
            "result": result,
            "number": first,
            "said": markup.said(result.said),
            "all": gr.Column(visible=True),
            "heading": gr.HTML(visible=several),
            "faces": gr.Gallery(_thumbnails(result) if several else [], visible=several, selected_index=first),
            "whole": gr.Column(visible=is_photo),
            "put_back": gr.CheckboxGroup(names, value=[names[number] for number in result.low_res]),
            "strength": gr.Slider(value=_FULL),
            **self.face(result, first, left, right),
            **(self.photo(file, result, [names[number] for number in result.low_res], _FULL) if is_photo else {}),
        }

    def nothing(self, words: str = "", *, failed: bool = True) -> dict[str, Any]:
        """Shows a message instead of a result."""
        return {"result": None, "said": markup.said(words, failed=failed), "all": gr.Column(visible=False)}

    def face(self, result: Result, number: int, left: str | None, right: str | None) -> dict[str, Any]:
        """Shows one face: slider, views and legend."""
        face = result.faces[number]
        shown = {view.name: view for view in views(face)}
        left = left if left in shown else BICUBIC
        right = right if right in shown else self.models.students[0].name
        label = f"face {number + 1}" if len(result.faces) > 1 else "the face"
        return {
            "left": gr.Dropdown(list(shown), value=left),
            "right": gr.Dropdown(list(shown), value=right),
            "pair": markup.pair(shown[LR], shown[self.models.students[0].name], label),
            "slider": gr.ImageSlider(
                (large(shown[left]), large(shown[right])), label=f"Drag to compare: {left} | {right}"
            ),
            "strip": markup.strip(list(shown.values()), label),
            "legend": markup.legend(face.parsing),
        }

    def photo(self, file: str, result: Result, chosen: Sequence[str], percent: float) -> dict[str, Any]:
        """Shows a photograph with some faces restored, blended with the original, and writes it for download."""
        if not chosen:
            return {"photo": gr.ImageSlider(visible=False), "save": gr.DownloadButton(visible=False)}
        image = open_upload(Path(file), self.limits)
        numbers = [number for number, name in enumerate(_names(result)) if name in chosen]
        after = whole_image(image, result, numbers, self.models.students[0].name, percent / 100)
        suffix = ".jpg" if after.alpha is None else ".png"
        target = self.folder / Path(file).parent.name / f"restored_{Path(file).stem}{suffix}"
        after.save(target)
        before = image.rgb.resize(after.rgb.size, Image.Resampling.BICUBIC)
        pair = ImageOps.contain(before, _SHOWN), ImageOps.contain(after.rgb, _SHOWN)
        return {"photo": gr.ImageSlider(pair, visible=True), "save": gr.DownloadButton(value=str(target), visible=True)}


def _names(result: Result) -> list[str]:
    """Returns the names of a photograph's faces."""
    return [
        f"Face {number}, {face.box.side} px" if face.box is not None else f"Face {number}"
        for number, face in enumerate(result.faces, 1)
    ]


def _thumbnails(result: Result) -> list[tuple[Any, str]]:
    return [
        (large(views(face)[0] if face.hr is None else views(face)[-1 if face.parsing is None else -2]), name)
        for face, name in zip(result.faces, _names(result), strict=True)
    ]


def _open(page: gr.Blocks, shown: _Shown, clicks: _Clicks, example: Example) -> None:
    """Shows a restored example to whoever opens the page; the place for an upload stays empty."""

    def opening() -> dict[Any, Any]:
        found = clicks.restore(str(example.file), next(iter(MODES)), None, None)
        found["said"] = markup.said(_OPENING, opening=True)
        return {getattr(shown, name): value for name, value in found.items()}

    page.load(opening, None, list(shown), show_progress="hidden", api_visibility="private")


def _connect(given: _Given, shown: _Shown, clicks: _Clicks) -> None:
    """Connects the components with their event handlers."""
    components = shown._asdict()

    def updates(found: dict[str, Any]) -> dict[Any, Any]:
        return {components[name]: value for name, value in found.items()}

    def restore(upload: Mapping[str, Any] | None, mode: str, left: str | None, right: str | None) -> dict[Any, Any]:
        return updates(clicks.restore(upload["path"] if upload else None, mode, left, right))

    def face(result: Result | None, number: int, left: str, right: str) -> dict[Any, Any]:
        if result is None:
            return updates(clicks.nothing("The result was deleted meanwhile. Restore the image again."))
        return updates(clicks.face(result, number, left, right))

    def choose(result: Result | None, left: str, right: str, event: gr.SelectData) -> dict[Any, Any]:
        return {shown.number: event.index, **face(result, event.index, left, right)}

    def put_back(
        upload: Mapping[str, Any] | None, result: Result | None, chosen: list[str], percent: float
    ) -> dict[Any, Any]:
        if result is None or upload is None:
            return updates(clicks.nothing("The result was deleted meanwhile. Restore the image again."))
        try:
            return updates(clicks.photo(upload["path"], result, chosen, percent))
        except PKDNError as error:
            return updates(clicks.nothing(error.detail if isinstance(error, Rejected) else str(error)))

    everything = list(shown)
    sides = [shown.left, shown.right]
    quiet: dict[str, Any] = {"api_visibility": "private"}
    # Without preprocessing, Gradio does not decode an image before `open_upload` checks its size; it still checks the
    # path.
    raw = quiet | {"preprocess": False}
    gr.on(
        [given.image.change, given.mode.input, given.restore.click],
        restore, [given.image, given.mode, *sides], everything, trigger_mode="always_last", **raw,
    )  # fmt: skip
    shown.faces.select(choose, [shown.result, *sides], everything, show_progress="hidden", **quiet)
    gr.on([each.input for each in sides], face, [shown.result, shown.number, *sides], everything,
          show_progress="hidden", **quiet)  # fmt: skip
    shown.divider.input(
        None, shown.divider, shown.slider, js="place => ({__type__: 'update', slider_position: place})", **quiet
    )
    gr.on(
        [shown.put_back.input, shown.strength.input], put_back,
        [given.image, shown.result, shown.put_back, shown.strength], everything, trigger_mode="always_last", **raw,
    )  # fmt: skip
