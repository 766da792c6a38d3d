"""The verb `demo`: a local web page on which a trained model restores the faces of images that are dropped on it.

pkdn demo model=runs/student_celeba/2026-01-31_12-00-00
pkdn demo model=<run> other=<run> teacher=runs/teacher_celeba/<run> parser=79999_iter.pth

restorers  what restores faces: one student or two, a teacher, and the parser that makes its maps
limits     how much a visitor may ask for
examples   faces to try it with
actions    what happens on a click: from a file to its faces, restored
views      what of a face is shown, how it is named, and how near it is to the original
markup     the parts of the page that are HTML of our own
page       the page: what stands where, and which click leads to what
server     serves it and leaves nothing behind; only `page` and `server` know of Gradio
"""

from typing import TYPE_CHECKING

from pkdn_lightning.config.verb import run_verb

if TYPE_CHECKING:
    from omegaconf import DictConfig


def demo(cfg: "DictConfig") -> None:
    """Serves the page until Ctrl-C or SIGTERM; what was uploaded is deleted then, if it was not before.

    Args:
        cfg: A configuration as `compose("demo", ["model=<run>"])` returns it.

    Raises:
        PKDNError: If it cannot begin: no such model, an extra is missing, the port is taken.
    """
    from pkdn_lightning.demo.server import serve

    serve(cfg)


def main() -> None:
    """Runs the verb from the command line."""
    run_verb("demo", demo, paths=("model", "other", "teacher", "parser"))
