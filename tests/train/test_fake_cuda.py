"""Every experiment trained on a pretended CUDA device: nothing mixes devices, and no step waits for the device.

A step is all of it: forward and backward pass, clipping, fused Adam, the scaler of 16-mixed, averaging of the weights.
"""

import lightning.pytorch as lightning
import pytest

from pkdn_lightning.config import compose
from pkdn_lightning.config.instances import build_network
from pkdn_lightning.runs import RunFolder
from pkdn_lightning.train import build
from tests.conftest import write_store
from tests.fake_cuda import cuda_device, recorded

SMALL = (
    "model.width=8",
    "model.levels=2",
    "model.rcabs_per_level=1",
    "teacher.model.width=8",
    "teacher.model.levels=2",
)
TEACHER = (*SMALL[:2], "module.recompute=true")
DISCRIMINATOR = ("module.discriminator.size_px=64", "objective.features.weight=0")  # without files of weights
EXPERIMENTS = {
    "demo": (*SMALL, "callbacks.learning_rate=null"),
    "dic": ("model.steps=2",),
    "dicgan": ("model.steps=2", *DISCRIMINATOR),
    "fishfsrnet": (),
    "fsrgan": DISCRIMINATOR,
    "fsrnet": (),
    "included_model": (*SMALL[:3], "data.augmentation.colour=0"),
    "kdfsrnet": ("model.rcabs_per_level=1", "teacher.model.rcabs_per_level=1"),
    "kdfsrnet_teacher": ("model.rcabs_per_level=1",),
    "rcan": ("model.groups=2", "model.blocks=2"),
    "sfmnet": (),
    "sisn": ("model.groups=2", "model.blocks=2"),
    "sparnet": (),
    "student": (*SMALL, "degradation=blind2"),
    "teacher": TEACHER,
    "urdgn": DISCRIMINATOR[:1],
}
QUICK = {("student", "bf16-mixed"), ("urdgn", "16-mixed")}
CASES = [
    case if case in QUICK else pytest.param(*case, marks=pytest.mark.slow)
    for case in ((name, precision) for name in EXPERIMENTS for precision in ("bf16-mixed", "16-mixed"))
]
TRAINING = (
    "size=reduced", "recipe=fast", "+optimizer.fused=true", "ema=standard", "trainer=gpu", "logger=csv",
    "module.channels_last=true", "data.batch_size=2", "data.name=faces", "data.flip_probability=0.5",
    "trainer.max_steps=3", "trainer.log_every_n_steps=50", "trainer.val_check_interval=100",
    "trainer.num_sanity_val_steps=0", "callbacks.best=null", "callbacks.last=null", "callbacks.grid=null",
)  # fmt: skip


class Steps(lightning.Callback):
    """Notes what the recorder has seen when each step begins."""

    def __init__(self, recorder):
        self.recorder, self.waits = recorder, []

    def on_train_batch_start(self, *_):
        self.waits.append(self.recorder.waits.copy())


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return write_store(
        tmp_path_factory.mktemp("stores") / "faces", size_px=64, counts={"train": 6, "val": 1, "test": 1}
    )


def trained(cfg, tmp_path, monkeypatch):
    """Trains a step more than one, and returns the recorder and the waits of the second step."""
    monkeypatch.setattr(build.console, "_force_terminal", True)  # with the progress bar
    with cuda_device(monkeypatch):
        net, objective = build_network(cfg.model), build.build_objective(cfg.objective)
        teacher = build_network(cfg.teacher.model) if objective.needs_teacher() else None
        data = build.build_datamodule(cfg.data, seed=0, require_parsing=True)
        module = build.build_module(cfg, net, teacher, {})
        callbacks = build.build_callbacks(cfg.callbacks, RunFolder(tmp_path / "run"))
        trainer = build.build_trainer(cfg, callbacks, build.build_loggers(cfg.logger, "fake", module.role))
        with recorded() as recorder:
            trainer.callbacks.insert(0, steps := Steps(recorder))
            trainer.fit(module, datamodule=data)
    assert trainer.global_step == 3
    assert {parameter.device.type for parameter in net.parameters()} == {"cuda"}
    return recorder, steps.waits[2] - steps.waits[1]


@pytest.mark.parametrize(("experiment", "precision"), CASES)
def test_a_step_mixes_no_devices_and_waits_for_none(experiment, precision, faces, tmp_path, monkeypatch):
    places = [f"data.store={faces.path}", f"run_dir={tmp_path / 'run'}", f"trainer.precision={precision}"]
    cfg = compose("train", [f"experiment={experiment}", *TRAINING, *places, *EXPERIMENTS[experiment]])
    recorder, waits = trained(cfg, tmp_path, monkeypatch)
    assert not recorder.mixed
    assert not waits, "\n".join(waits)


def test_every_experiment_is_tried(pytestconfig):
    names = {file.stem for file in (pytestconfig.rootpath / "conf" / "experiment").glob("*.yaml")}
    sizes = ("_celeba", "_helen", "_small")  # of student and teacher
    assert {name for name in names if not name.endswith(sizes)} == EXPERIMENTS.keys()
