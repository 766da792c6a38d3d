"""The verb `predict`: a trained model restores faces in images, folders of them and photographs.

pkdn predict model=runs/student_celeba/2026-01-31_12-00-00 input=photos/ output=restored/
pkdn predict model=owner/name input='old/*.jpg' output=restored/ mode=photo upscale=2

inputs      finds the images: a file, a folder, a pattern
image_file  reads and writes pixels, orientation, colour profile, alpha and metadata
bit_depth   how many bits per channel a file holds
routing     whether an image is LR, an enlarged LR, or a photograph with faces
models      which model restores a face, by its size
detail      whether a face is an enlarged LR
alignment   turns tilted faces upright, and back
restore     passes the faces of many files through their models
back_projection  makes an enlarged image and its reduction agree
paste       puts restored faces back into their photograph
summary     says it in numbers and words
manifest    records what was done with each file
references  measures results against true images
prediction  does all of it in turn
"""

from typing import TYPE_CHECKING, Any

from pkdn_lightning.config.verb import run_verb

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pkdn_lightning.predict.prediction import Prediction


def predict(cfg: "DictConfig") -> "Prediction":
    """Restores the faces of what `cfg` names. A file that cannot be restored is reported, and the others go on.

    Args:
        cfg: A configuration as `compose("predict", ["model=<run>", "input=<images>", "output=<folder>"])` returns
            it.

    Returns:
        The folder with the results and the manifest, and what was done with each file.

    Raises:
        PKDNError: If it cannot start: no such model, no inputs, an output that cannot be written.
    """
    from pkdn_lightning.predict.prediction import run_prediction

    return run_prediction(cfg)


def main() -> None:
    """Runs the verb from the command line."""
    run_verb("predict", _task)


def _task(cfg: "DictConfig") -> Any:
    from pkdn_lightning.console import console
    from pkdn_lightning.errors import DataError
    from pkdn_lightning.predict.manifest import FILE
    from pkdn_lightning.predict.summary import remarks

    result = predict(cfg)
    words = [result.summary()]
    words += [f"{name} {value:.{2 if 'psnr' in name else 4}f}" for name, value in result.metrics.items()]
    for note in filter(None, (result.left_out, *remarks(result.rows))):
        console.print(note)
    if cfg.references and not result.metrics and any(row.status == "restored" for row in result.rows):
        console.print(f"Nothing was measured: no image in references={cfg.references} has the name of a restored one.")
    if cfg.upscale is None and any(row.mode == "photo" and row.status == "restored" for row in result.rows):
        console.print("Photographs keep their size; upscale=2 enlarges them, so that small faces show more detail.")
    if cfg.upscale is not None and any(
        row.mode in ("lr", "aligned") and row.status == "restored" for row in result.rows
    ):
        console.print(f"upscale={cfg.upscale} is for photographs; a picture of one face gets the size of its model.")
    console.print(f"{', '.join(words)}. Results and {FILE}: {result.folder}")
    problems = []
    if result.failed:
        problems.append(
            f"{len(result.failed)} of {len(result.rows)} could not be restored; the last: {result.failed[-1].input}.\n"
            f"{result.folder / FILE} has the reason of each. Once that is mended, the same command goes on."
        )
    if result.kept:
        problems.append(
            f"{len(result.kept)} of {len(result.rows)} not restored, because {result.folder} has other files of these "
            "names. Add overwrite=true to replace them, or choose another output=."
        )
    if problems:
        raise DataError("\n".join(problems))
