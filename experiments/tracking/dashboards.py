"""A W&B workspace and a report for the project's runs, as code: what to look at, in the order to look at it.

python experiments/tracking/dashboards.py entity=<you> project=pkdn-lightning test_sets=[celeba,helen]
python experiments/tracking/dashboards.py --dry-run        prints both as JSON; needs neither account nor network
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

STEP: Final = "trainer/global_step"
BEST: Final = "best/val/psnr_y"
TERMS: Final = ("sr", "ts", "fs")
LAMBDAS: Final = {"objective.ts.weight": "λ_TS", "objective.fs.weight": "λ_FS"}

READING: Final = """Runs are chosen by `val/psnr_y`; test splits only report. PSNR and SSIM are of the luma of 8-bit
faces, 8 border pixels dropped, and mean over images. One seed says little: differences of seeds are often above 0.1 dB.
The teacher sees the parsing map of the true face, so it bounds the students and does not compete with them."""

LINEAGE: Final = """A run's configuration names what it was made from: `data.sha256` is the hash of its store,
`teacher.sha256` and `teacher.path` those of the checkpoint it learned from. Every finished run logs its best
checkpoint as an artifact **by reference**, named as its experiment: W&B has the hash, the file stays where it is.
Runs that are online while they train also declare store and teacher as inputs, which draws the graph under Artifacts;
offline W&B takes no inputs, and the hashes in the configuration say the same."""


@dataclass
class Settings:
    """What the command line may say.

    Attributes:
        entity: User or team.
        project: The runs' project.
        test_sets: Names of the test sets to show.
    """

    entity: str = "entity"
    project: str = "pkdn-lightning"
    test_sets: list[str] = field(default_factory=lambda: ["celeba"])


def sections(settings: Settings) -> dict[str, list[Any]]:
    """Returns the panels by the question they answer."""
    return {
        "How good": _quality(settings.test_sets),
        "What the faces look like": [
            wr.MediaBrowser(title="Validation faces", media_keys=["val/faces"], num_columns=1, layout=_wide(16))
        ],
        "What is being minimised": _losses(),
        "What λ is worth": _lambdas(),
        "What a run costs": _costs(),
        "What differs, and where it comes from": [
            wr.RunComparer(diff_only="split", layout=_wide(12)),
            wr.MarkdownPanel(markdown=LINEAGE, layout=_wide(6)),
        ],
    }


def _quality(test_sets: Sequence[str]) -> list[Any]:
    curves = [
        wr.LinePlot(title="Validation PSNR (dB)", x=STEP, y=["val/psnr_y"], max_runs_to_show=50),
        wr.LinePlot(title="Validation SSIM", x=STEP, y=["val/ssim_y"], max_runs_to_show=50),
    ]
    bars = [
        wr.BarPlot(title=f"{words} on {name} test", metrics=[f"test/{name}/{metric}"])
        for name in test_sets
        for metric, words in (("psnr_y", "PSNR (dB)"), ("ssim_y", "SSIM"))
    ]
    return [*curves, *bars]


def _losses() -> list[Any]:
    return [
        wr.LinePlot(title="Objective", x=STEP, y=["train/loss"], log_y=True, smoothing_factor=0.6),
        *(
            wr.LinePlot(title=f"L_{term.upper()}, unweighted", x=STEP, y=[f"train/loss/{term}"], smoothing_factor=0.6)
            for term in TERMS
        ),
        wr.LinePlot(title="λ over time", x=STEP, y=[f"train/weight/{term}" for term in TERMS]),
        wr.LinePlot(title="Learning rate", x=STEP, y=["lr-Adam"]),
    ]


def _lambdas() -> list[Any]:
    columns = [wr.ParallelCoordinatesPlotColumn(wr.Config(key), display_name=name) for key, name in LAMBDAS.items()]
    seed = wr.ParallelCoordinatesPlotColumn(wr.Config("seed"))
    best = wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(BEST), display_name="best validation PSNR")
    return [
        wr.ParallelCoordinatesPlot(title="λ, seed and PSNR", columns=[*columns, seed, best], layout=_wide(8)),
        wr.ParameterImportancePlot(with_respect_to=BEST),
        *(
            wr.ScatterPlot(title=f"PSNR against {name}", x=wr.Config(key), y=wr.SummaryMetric(BEST))
            for key, name in LAMBDAS.items()
        ),
    ]


def _costs() -> list[Any]:
    return [
        wr.ScatterPlot(title=f"PSNR against {words}", x=wr.SummaryMetric(key), y=wr.SummaryMetric(BEST), log_x=True)
        for key, words in (("params", "parameters"), ("macs", "multiply-accumulates a face"))
    ] + [wr.LinePlot(title="Training time (s)", x=STEP, y=["train/wall_s"])]


def _wide(height: int) -> wr.Layout:
    return wr.Layout(w=24, h=height)


def workspace(settings: Settings) -> ws.Workspace:
    """Returns the workspace: the view of the project's page."""
    return ws.Workspace(
        entity=settings.entity,
        project=settings.project,
        name="PKDN",
        sections=[ws.Section(name=name, panels=panels, is_open=True) for name, panels in sections(settings).items()],
        settings=ws.WorkspaceSettings(x_axis=STEP, max_runs=50),
        runset_settings=ws.RunsetSettings(
            order=[ws.Ordering(ws.Summary(BEST), ascending=False)],
            pinned_columns=["run:displayName", "run:jobType", f"summary:{BEST}", "summary:params"],
        ),
    )


def report(settings: Settings) -> wr.Report:
    """Returns the report: the same panels with the words that belong to them."""
    runs = wr.Runset(name="all runs")  # of the report's project; naming it would ask the server
    blocks: list[Any] = [wr.TableOfContents(), wr.H1("How to read this"), wr.MarkdownBlock(READING)]
    for name, panels in sections(settings).items():
        blocks += [wr.H1(name), wr.PanelGrid(runsets=[runs], panels=panels)]
    return wr.Report(
        entity=settings.entity,
        project=settings.project,
        title="Prior knowledge distillation for face super-resolution",
        description="What the prior is worth while it is there, and what is left of it when it is gone.",
        blocks=[*blocks, wr.H1("Lineage"), wr.MarkdownBlock(LINEAGE)],
        width="fluid",
    )


def as_json(settings: Settings) -> str:
    """Returns workspace and report as W&B would get them."""
    both = {"workspace": workspace(settings), "report": report(settings)}
    # `_to_model` is not public; it is also all that `save` sends.
    sent = {name: each._to_model().model_dump(by_alias=True, mode="json") for name, each in both.items()}
    return json.dumps(sent, indent=2, ensure_ascii=False)


def parse(arguments: Sequence[str]) -> Settings:
    """Returns what `key=value` arguments say."""
    try:
        settings: Any = OmegaConf.merge(OmegaConf.structured(Settings), OmegaConf.from_dotlist(list(arguments)))
        return OmegaConf.to_object(settings)  # type: ignore[return-value]  # of the structure that was merged into
    except OmegaConfBaseException as error:
        sys.exit(f"{str(error).splitlines()[0]}\nKeys: entity, project, test_sets. {__doc__}")


def main(arguments: Sequence[str]) -> None:
    """Writes workspace and report, or prints them."""
    settings = parse([each for each in arguments if each != "--dry-run"])
    if "--dry-run" in arguments:
        sys.stdout.write(as_json(settings) + "\n")
        return
    if settings.entity == Settings.entity:
        sys.exit("Say whose project it is: entity=<user or team>. To see what would be written: --dry-run")
    for each in (workspace(settings), report(settings)):
        each.save()
        sys.stdout.write(f"{each.url}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
