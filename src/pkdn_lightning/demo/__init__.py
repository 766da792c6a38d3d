"""The verb `demo`: a local web page on which a trained model restores faces in uploaded images.

pkdn demo model=runs/student_celeba/2026-01-31_12-00-00
pkdn demo model=<run> other=<run> teacher=runs/teacher_celeba/<run> parser=79999_iter.pth

restorers  the models: one or two students, a teacher, and the parser of its maps
limits     limits of uploads and requests
examples   example images
actions    restores the faces of an uploaded file
views      the images that are shown of a face, with their metrics
markup     the page's custom HTML
page       the layout and the event handlers
server     serves the page and deletes its files; only `page` and `server` depend on Gradio
own_address, uploads    refuse requests of other sites, and endless uploads
"""

from typing import TYPE_CHECKING

from pkdn_lightning.config.verb import run_verb

if TYPE_CHECKING:
    from omegaconf import DictConfig


def demo(cfg: "DictConfig") -> None:
    """Serves the page until Ctrl-C or SIGTERM, then deletes all uploads.

    Args:
        cfg: A configuration as `compose("demo", ["model=<run>"])` returns it.

    Raises:
        PKDNError: If it cannot start: unknown model, missing extra, or port in use.
    """
    from pkdn_lightning.demo.server import serve

    serve(cfg)


def main() -> None:
    """Runs the verb from the command line."""
    run_verb("demo", demo)
