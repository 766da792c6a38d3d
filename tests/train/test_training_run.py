"""Whole runs: what they leave behind, how they stop and resume, and what a student does with its teacher."""

import csv
import io
import json
import os
import re
from itertools import count
from math import isnan
from pathlib import Path
from statistics import mean

import pytest
import torch
from omegaconf import OmegaConf

from pkdn_lightning import load_model
from pkdn_lightning.config import compose
from pkdn_lightning.console import console
from pkdn_lightning.errors import CheckpointError, ConfigError, DataError, ShapeError, TrainingError
from pkdn_lightning.evaluate import evaluate
from pkdn_lightning.losses import Reconstruction
from pkdn_lightning.models.checkpoints import load_network
from pkdn_lightning.modules import SRModule
from pkdn_lightning.runs import RunFolder
from pkdn_lightning.train import train
from pkdn_lightning.train.teacher_lookup import run_identity
from tests.conftest import write_store

PLAIN = "objective=reconstruction"
SHORT = ("trainer.max_steps=1", "trainer.val_check_interval=1", "teacher.max_steps=1")
LONG_TERMS = ("objective.ts.schedule=constant", "objective.fs.schedule=constant")


def weights(path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def teacher_run(trained_teacher):
    return trained_teacher.run


def test_a_teacher_run_leaves_everything(trained_teacher):
    result, run = trained_teacher, trained_teacher.run
    for path in (run.config, run.provenance, run.results, run.metrics, run.best, run.last):
        assert path.is_file(), path
    assert sorted(file.name for file in run.grids.iterdir()) == ["step_0000003.png", "step_0000006.png"]
    results = json.loads(run.results.read_text())
    assert (results["status"], results["steps"], results["teacher"]) == ("finished", 6, None)
    assert {"val/psnr_y", "test/faces/psnr_y", "test/faces/ssim_y"} <= results["metrics"].keys()
    assert results["params"] > 0
    assert results["macs"] > 0
    assert 5 < result.metrics["test/faces/psnr_y"] < 40
    columns = run.metrics.read_text().splitlines()[0]
    assert "train/loss/sr" in columns
    assert "val/psnr_y" in columns


def test_a_student_trains_the_teacher_it_needs_once(tiny_config, tmp_path):
    first = train(tiny_config(*LONG_TERMS, run="first"))
    teachers = list((tmp_path / "runs").glob("teacher_faces/auto-*"))
    assert len(teachers) == 1
    trained = RunFolder(teachers[0]).best.stat().st_mtime_ns
    record = first.run.read_results()
    assert record["teacher"]["path"] == str(RunFolder(teachers[0]).best)
    second = train(tiny_config(*LONG_TERMS, run="second"))
    assert RunFolder(teachers[0]).best.stat().st_mtime_ns == trained
    assert same(weights(first.run.last), weights(second.run.last))  # finding one equals training one first
    header = first.run.metrics.read_text().splitlines()[0]
    assert all(f"train/loss/{term}" in header for term in ("sr", "ts", "fs"))


def test_the_teacher_stays_as_it_was_and_out_of_the_checkpoint(tiny_config, teacher_run):
    before = weights(teacher_run.best)
    result = train(tiny_config(*LONG_TERMS, f"teacher.checkpoint={teacher_run.path}", "ema=standard"))
    assert same(before, weights(teacher_run.best))
    checkpoint = torch.load(result.run.last, weights_only=True)
    for part in ("state_dict", "current_model_state"):
        assert {name.split(".")[0] for name in checkpoint[part]} == {"net"}
    assert not same(checkpoint["state_dict"], checkpoint["current_model_state"])  # the average is not the last step
    assert len(checkpoint["optimizer_states"][0]["state"]) == len(list(load_model(result.run.path).parameters()))


def test_plain_students_need_no_teacher(tiny_config, bare_store, tmp_path):
    by_objective = train(tiny_config(PLAIN, f"data.store={bare_store.path}", run="a"))
    by_weights = train(
        tiny_config("objective.ts.weight=0", "objective.fs.weight=0", f"data.store={bare_store.path}", run="b")
    )
    assert same(weights(by_objective.run.last), weights(by_weights.run.last))
    assert not (tmp_path / "runs").exists()


def logged(run: RunFolder, name: str) -> list[tuple[int, str]]:
    """Returns step and value of every logged value of a metric."""
    with run.metrics.open(newline="") as file:
        return [(int(row["step"]), row[name]) for row in csv.DictReader(file) if row[name]]


def test_a_training_shorter_than_the_interval_logs_its_last_step(tiny_config):
    run = train(tiny_config(PLAIN, "trainer.max_steps=2", "trainer.log_every_n_steps=50")).run
    assert [step for step, _ in logged(run, "train/loss")] == [1]


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (["max_steps=2", "val_check_interval=3"], "To validate at the end: trainer.val_check_interval=2\n"),
        (["max_steps=2", "val_check_interval=3", "accumulate_grad_batches=2"], None),
        (["max_steps=2", "val_check_interval=5", "accumulate_grad_batches=2"], "trainer.val_check_interval=3\n"),
        (["max_steps=2", "val_check_interval=2"], None),
        (
            ["max_epochs=1", "max_steps=-1", "val_check_interval=1000"],
            "To validate at the end: trainer.val_check_interval=",
        ),
        (
            ["max_epochs=1", "max_steps=-1", "val_check_interval=1.0", "check_val_every_n_epoch=2"],
            "trainer.check_val_every",
        ),
        (
            ["max_steps=1", "val_check_interval=1.0", "check_val_every_n_epoch=1"],
            "trainer.val_check_interval=1 trainer.check_val_every_n_epoch=null\n",
        ),
        (["max_steps=3", "val_check_interval=1.0", "check_val_every_n_epoch=1"], None),
        (["max_steps=2", "val_check_interval=3", "limit_val_batches=0"], None),
    ],
)
def test_a_training_that_ends_before_its_first_validation_says_so(tiny_config, capsys, length, said):
    result = train(tiny_config("objective=reconstruction", "test=false", *(f"trainer.{each}" for each in length)))
    shown = capsys.readouterr().out
    assert (said or "") in shown
    assert ("before its first validation" in shown) == bool(said)
    assert ("val/psnr_y" in result.metrics) == (not said and "limit_val_batches=0" not in length)


def test_a_term_that_is_off_is_logged_with_weight_0_and_no_loss(tiny_config, teacher_run):
    held = ("schedule=hold", "unit=step", "duration=1")
    terms = [*(f"objective.ts.{each}" for each in held), "objective.ts.weight=3", "objective.fs.weight=0"]
    run = train(tiny_config(*terms, f"teacher.checkpoint={teacher_run.path}", "trainer.log_every_n_steps=1")).run
    assert [float(value) for _, value in logged(run, "train/weight/ts")] == [3, 3, 0, 0, 0, 0]
    losses = [float(value) for _, value in logged(run, "train/loss/ts")]
    assert [isnan(loss) for loss in losses] == [False, False, True, True, True, True]
    assert {value for _, value in logged(run, "train/weight/sr")} == {"1.0"}


def test_a_teacher_that_saw_other_data_is_another(tiny_config):
    cfg = tiny_config()
    a, b = (run_identity(cfg, {}, {"sha256": digest}, reads_maps=True) for digest in ("a", "b"))
    assert a != b


def test_each_seed_can_have_a_teacher_of_its_own(tiny_config):
    each = ("teacher.seed=${seed}", *SHORT)
    students = [train(tiny_config(*each, f"seed={seed}", run=f"s{seed}")).run for seed in (1, 2)]
    teachers = [Path(json.loads(run.provenance.read_text())["teacher"]["path"]).parents[1] for run in students]
    seeds = [json.loads((teacher / "run.json").read_text())["seed"] for teacher in teachers]
    assert (len(set(teachers)), seeds) == (2, [1, 2])


def test_a_twin_is_never_a_distilled_student_and_one_trained_by_hand_is_found(tiny_config):
    options = ("objective=distillation_image", "teacher.seed=3", *SHORT)
    by_hand = train(tiny_config(PLAIN, "seed=3", *SHORT, run="runs/by_hand")).run
    train(tiny_config(PLAIN, "seed=3", *SHORT, f"module.init_from={by_hand.path}", run="runs/tuned"))  # another start
    first, second, third = (
        train(tiny_config(*options, f"teacher={kind}", run=f"runs/{number}")).run
        for number, kind in enumerate(("pkdn", "twin", "twin"))
    )
    teachers = [Path(json.loads(run.provenance.read_text())["teacher"]["path"]).parents[1] for run in (second, third)]
    assert teachers == [by_hand.path.resolve()] * 2
    assert first.finished


def test_a_teacher_that_did_without_some_maps_is_another(tiny_config, store):
    cfg, data = tiny_config("data.parsing_dropout=0.5", *SHORT), {"sha256": store.sha256}
    identities = [run_identity(each, {}, data, reads_maps=True) for each in (cfg, tiny_config(*SHORT))]
    assert identities[0] == identities[1] | {"parsing_dropout": 0.5}
    shares = []
    original = SRModule.on_train_start

    def on_train_start(self):
        shares.append((self.role, self.trainer.datamodule.parsing_dropout))
        original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SRModule, "on_train_start", on_train_start)
        train(cfg)
    assert shares == [("teacher", 0.5), ("student", 0.0)]  # the frozen teacher is given every map


def test_what_maps_are_like_makes_no_difference_to_a_twin(tiny_config):
    damaged = tiny_config("data.parsing_damage=shuffled", "data.parsing_dropout=0.5")
    twin, other = (run_identity(each, {}, {"sha256": "a"}, reads_maps=False) for each in (damaged, tiny_config()))
    assert twin == other != run_identity(damaged, {}, {"sha256": "a"}, reads_maps=True)


def test_a_teacher_of_another_degradation_is_another(tiny_config, teacher_run):
    ways = [(), ("degradation=blind",), ("degradation=blind", "data.blind.noise=[1,5]"), ("degradation=blind2",)]
    same, *others, weaker = (
        run_identity(tiny_config(*way), {}, {"sha256": "a"}, reads_maps=True)
        for way in [*ways, ("data.blind.noise=[1,5]",)]
    )
    assert same not in others
    assert [others.count(each) for each in others] == [1] * 3
    assert weaker == same  # strengths of a degradation that is not used
    with pytest.raises(CheckpointError, match=r"data\.degradation=pil, this student uses data\.degradation=blind"):
        train(tiny_config("degradation=blind", f"teacher.checkpoint={teacher_run.path}", run="student"))


def test_the_best_weights_are_tested_not_the_last(tiny_config, store, tmp_path, monkeypatch):
    step = SRModule.training_step

    def training_step(self, batch, batch_idx):
        return step(self, batch, batch_idx) * (1 if self.global_step < 3 else -1)  # it unlearns in the second half

    monkeypatch.setattr(SRModule, "training_step", training_step)
    result = train(tiny_config(PLAIN, "optimizer.lr=0.005"))
    assert result.metrics["best/step"] == 3
    places = [f"models.best={result.run.best}", f"models.last={result.run.last}", f"data.store={store.path}"]
    (tmp_path / "table").mkdir()
    table = [*places, f"run_dir={tmp_path / 'table'}", "data.scale=4", "data.name=faces", "accelerator=cpu"]
    means = evaluate(compose("evaluate", table)).means
    assert result.metrics["test/faces/psnr_y"] == pytest.approx(means["best"]["test/faces/psnr_y"], abs=1e-4)
    assert means["best"]["test/faces/psnr_y"] > means["last"]["test/faces/psnr_y"] + 0.01


def test_two_runs_of_a_seed_are_equal_and_of_two_seeds_differ(tiny_config, trained_student):
    again, other = (train(tiny_config(PLAIN, f"seed={seed}", run=f"{seed}")).run for seed in (0, 1))
    assert same(weights(trained_student.run.last), weights(again.last))
    assert not same(weights(again.last), weights(other.last))


def test_learning(tiny_config):
    result = train(
        tiny_config(
            PLAIN,
            "trainer.max_steps=40",
            "trainer.val_check_interval=40",
            "optimizer.lr=3e-3",
            "model.global_residual=true",
        )
    )
    rows = [line.split(",") for line in result.run.metrics.read_text().splitlines()]
    column = rows[0].index("train/loss/sr")
    losses = [float(row[column]) for row in rows[1:] if row[column]]
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])


@pytest.mark.parametrize("precision", ["bf16-mixed", "32"])
def test_precisions(tiny_config, precision):
    result = train(tiny_config(PLAIN, f"trainer.precision={precision}", "model.global_residual=true"))
    assert result.metrics["test/faces/psnr_y"] > 15
    assert all(value.dtype == torch.float32 for value in weights(result.run.last).values())


@pytest.mark.parametrize("named", [True, False])
def test_starting_from_the_teachers_weights(tiny_config, teacher_run, named):
    start = [PLAIN, f"module.init_from={teacher_run.path}"] if named else ["module.init_from=teacher"]
    run = train(tiny_config(*start, f"teacher.checkpoint={teacher_run.path}", "optimizer.lr=0.0")).run
    taught, student = load_model(teacher_run.path).state_dict(), load_model(run.path).state_dict()
    shared = [name for name in student if name in taught and student[name].shape == taught[name].shape]
    assert {"head.weight", "down.0.conv.weight", "up.1.conv.bias", "tail.weight"} <= set(shared)
    assert all(torch.equal(taught[name], student[name]) for name in shared)


def test_what_is_copied_is_told_once_of_the_trained_teacher(tiny_config, tmp_path, capsys):
    train(tiny_config("module.init_from=teacher", f"paths.runs={tmp_path}/own_runs", "trainer.max_steps=1"))
    shown = capsys.readouterr().out
    assert shown.count("weights have equal names and shapes") == 1
    assert shown.index("Teacher: ") < shown.index("weights have equal names and shapes")


def test_models_load_by_run_and_by_file(trained_student):
    run = trained_student.run
    loaded = load_network(run.path)
    assert loaded.path == run.best
    assert not loaded.net.training
    assert (loaded.card["experiment"], loaded.card["data"]["name"]) == ("student_faces", "faces")
    assert load_model(run.last)(torch.rand(1, 3, 8, 8)).sr.shape == (1, 3, 32, 32)


def test_overfitting_sees_the_same_batch_again(tiny_config):
    cfg = tiny_config(PLAIN, "debug=overfit", "trainer.max_epochs=-1", "trainer.limit_val_batches=0")
    run = train(cfg).run
    assert run.read_results()["steps"] == 6
    assert len(logged(run, "train/loss/sr")) == 6


class TestErrors:
    def test_no_store_says_how_to_get_one(self, tiny_config, tmp_path):
        with pytest.raises(DataError, match=r"pkdn prepare data=faces data\.source\.path="):
            train(tiny_config(f"data.store={tmp_path / 'none'}"))

    def test_a_store_without_faces_for_validation_is_told_before_there_is_a_run(self, tiny_config, tmp_path, capsys):
        store = write_store(tmp_path / "few", counts={"train": 4, "val": 0, "test": 0})
        faces = f"data.store={store.path}"
        with pytest.raises(DataError, match="few has no faces in split 'val'"):
            train(tiny_config(PLAIN, faces, run="a"))
        assert not (tmp_path / "a").exists()
        train(tiny_config(PLAIN, faces, "trainer.limit_val_batches=0", "trainer.max_steps=1", run="b"))
        assert "No test: " in capsys.readouterr().out

    def test_a_network_that_is_not_finite_after_its_last_step_is_no_result(self, tiny_config):
        short = ("trainer.max_steps=1", "trainer.val_check_interval=1", "optimizer.lr=1e30", "test=false")
        with pytest.raises(TrainingError, match="after step 1"):
            train(tiny_config(PLAIN, *short, run="a"))
        assert RunFolder(Path("a")).status == "failed"

    def test_teacher_without_maps(self, tiny_config, bare_store):
        with pytest.raises(DataError, match="no parsing maps"):
            train(tiny_config(f"data.store={bare_store.path}", experiment="teacher_celeba"))

    def test_student_and_teacher_of_other_widths(self, tiny_config):
        wide = train(tiny_config("model.width=12", *SHORT, experiment="teacher_celeba", run="wide")).run
        with pytest.raises(ShapeError, match=r"down1: student \(4, 8, 16, 16\), teacher \(4, 12, 16, 16\)"):
            train(tiny_config(*LONG_TERMS, f"teacher.checkpoint={wide.path}"))

    def test_a_pair_that_does_not_fit_trains_no_teacher(self, tiny_config, tmp_path):
        with pytest.raises(ShapeError, match=r"down1: student \(2, 8, 16, 16\), teacher \(2, 12, 16, 16\)"):
            train(tiny_config(*LONG_TERMS, "teacher.model.width=12"))
        assert not list((tmp_path / "runs").rglob("*.ckpt"))

    def test_a_teacher_for_another_encoding(self, tiny_config, teacher_run):
        with pytest.raises(CheckpointError, match=r"data\.encoding=colour"):
            train(tiny_config("data.encoding=onehot", f"teacher.checkpoint={teacher_run.path}"))

    def test_a_student_is_no_teacher(self, tiny_config, trained_student):
        student = trained_student.run
        with pytest.raises(CheckpointError, match="reads no parsing maps.*teacher=twin"):
            train(tiny_config(f"teacher.checkpoint={student.path}"))
        objective = ("objective.fs.weight=0", "objective.ts.weight=1", "teacher=twin")
        from_twin = train(tiny_config(f"teacher.checkpoint={student.path}", *objective, run="from_twin"))
        assert json.loads(from_twin.run.provenance.read_text())["teacher"]["path"].startswith(str(student.path))

    def test_a_loss_that_is_not_finite_stops_the_run_and_spoils_nothing(self, tiny_config):
        cfg = tiny_config(PLAIN, "optimizer.lr=1e30", "trainer.val_check_interval=1")
        with pytest.raises(TrainingError, match=r"not finite(?s:.*)optimizer\.lr, set trainer\.gradient_clip_val"):
            train(cfg)
        for file in RunFolder(Path(cfg.run_dir)).checkpoints.glob("*.ckpt"):
            assert all(value.isfinite().all() for value in weights(file).values()), file

    @pytest.mark.parametrize(("every", "step"), [(1, 2), (6, 1)])
    def test_a_loss_that_is_not_finite_is_told_with_the_gradients_before_it(
        self, tiny_config, monkeypatch, every, step
    ):
        def loss(self, *inputs):
            return original(self, *inputs) / (0 if next(steps) > 2 else 1)

        steps, original = count(), Reconstruction.forward
        monkeypatch.setattr(Reconstruction, "forward", loss)
        clipped = ("trainer.gradient_clip_val=1", f"trainer.log_every_n_steps={every}", "trainer.max_steps=6")
        with pytest.raises(TrainingError) as caught:
            train(tiny_config(PLAIN, *clipped))
        first, norms, remedy, *_ = str(caught.value).splitlines()
        assert re.match(r"The loss was not finite at or before step [35] \(terms: sr (inf|nan)\)", first)
        assert re.match(rf"Gradient norms at step {step}: head \d.*, tail \d.* \(clipped\)\.", norms)
        assert remedy == "Lower optimizer.lr."

    @pytest.mark.parametrize(
        ("teacher", "way"),
        [
            ("pkdn", "experiment=teacher data"),
            ("pkdn_empty_map", "experiment=teacher data.parsing_damage=empty data"),
            ("twin", "experiment=student objective=reconstruction data"),
        ],
    )
    def test_a_job_that_cannot_train_its_teacher_says_how(self, teacher, way, tiny_config, monkeypatch):
        monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
        with pytest.raises(ConfigError, match=f"Train it first: pkdn train {way}"):
            train(tiny_config("objective=distillation_image", f"teacher={teacher}"))

    def test_a_share_of_an_epoch_needs_epochs(self, tiny_config):
        cfg = tiny_config(PLAIN, "trainer.val_check_interval=0.5", "trainer.check_val_every_n_epoch=null")
        with pytest.raises(ConfigError, match=r"0\.5 is a share of an epoch.* or trainer\.check_val_every_n_epoch=1"):
            train(cfg)

    def test_a_discriminator_needs_a_scheme_that_has_one(self, tiny_config):
        discriminator = "+module.discriminator._target_=pkdn_lightning.networks.urdgn.URDGNDiscriminator"
        with pytest.raises(ConfigError, match=r"module\.discriminator is for module=adversarial"):
            train(tiny_config(PLAIN, discriminator))

    def test_a_run_is_never_overwritten(self, tiny_config, own_run):
        before = own_run.best.read_bytes()
        with pytest.raises(ConfigError, match="holds a run already"):
            train(tiny_config(PLAIN))
        assert own_run.best.read_bytes() == before


def test_progress_is_told_in_lines_where_the_output_is_no_terminal(tiny_config, capsys, monkeypatch):
    monkeypatch.setattr("pkdn_lightning.train.callbacks.progress_lines._FIRST_S", 0.0)
    run = train(tiny_config(PLAIN, "trainer.enable_progress_bar=true")).run
    told = capsys.readouterr().out.splitlines()
    assert told[-2:] == [f"Results: {run.results}", f"Faces: {run.grids / 'step_0000006.png'}"]
    lines = [line for line in told if line.startswith("Step ")]
    assert len(lines) == 6
    assert re.fullmatch(r"Step 2 of 6, loss 0\.\d+, 0:00:\d\d left", lines[1])
    assert re.fullmatch(r"Step 4 of 6, loss 0\.\d+, val \d+\.\d\d dB, 0:00:\d\d left", lines[3])


def test_the_loss_that_is_told_is_that_of_the_last_batch_also_where_it_is_not_logged(tiny_config, capsys, monkeypatch):
    monkeypatch.setattr("pkdn_lightning.train.callbacks.progress_lines._FIRST_S", 0.0)
    options = ("trainer.enable_progress_bar=true", "trainer.log_every_n_steps=1000", "trainer.max_steps=3")

    def told(batches: int) -> list[float]:
        train(tiny_config(PLAIN, *options, f"trainer.accumulate_grad_batches={batches}", run=f"of_{batches}"))
        return [float(each) for each in re.findall(r"^Step .*loss ([\d.]+)", capsys.readouterr().out, flags=re.M)]

    alone, together = told(1), told(3)
    assert len(set(alone)) == 3
    assert 0.5 < mean(together) / mean(alone) < 2


def test_progress_is_a_bar_of_steps_on_a_terminal(tiny_config, monkeypatch):
    terminal = type(console)(markup=False, highlight=False, file=io.StringIO(), force_terminal=True, width=100)
    for module in ("build", "callbacks.progress_bar", "callbacks.progress_lines"):
        monkeypatch.setattr(f"pkdn_lightning.train.{module}.console", terminal)
    train(tiny_config(PLAIN, "trainer.enable_progress_bar=true"))
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.file.getvalue())
    assert re.search(r"Step ━+ 6 of 6 [\d.e+]+/s, took 0:00:\d\d loss 0\.\d+, val \d+\.\d\d dB", shown), shown
    assert re.search(r"Test ━+ \d of \d", shown), shown
    assert "Epoch" not in shown


def test_choices_for_the_machine_are_told_once_and_kept_and_not_told_before_a_refusal(tiny_config, capsys):
    fast = ("recipe=fast", "data.batch_size=4", "module.recompute=true", *LONG_TERMS)
    saved = OmegaConf.load(train(tiny_config(*fast)).run.config)
    told = capsys.readouterr().out
    assert told.count("Tuned for this machine") == 1  # of a teacher and its student
    assert f"trainer.precision={saved.trainer.precision} (" in told
    assert saved.module.channels_last is True
    assert saved.trainer.precision != "auto"
    with pytest.raises(ConfigError, match="holds a run already"):
        train(tiny_config(*fast))
    assert "Tuned" not in capsys.readouterr().out


def test_a_teacher_that_was_never_validated_is_announced_as_such(tiny_config, capsys):
    train(tiny_config(*LONG_TERMS, "teacher.max_steps=1", "trainer.max_steps=1"))
    out = capsys.readouterr().out
    assert re.search(r"Teacher: .* \(1 step, never validated\)", out)
    assert "trained for few steps" not in out
    train(tiny_config(*LONG_TERMS, "trainer.max_steps=11", run="longer"))
    assert "trained for few steps, compared with the 11 of its student" in " ".join(capsys.readouterr().out.split())


def test_an_interrupted_teacher_keeps_its_length_and_says_so(tiny_config, tmp_path, capsys):
    train(tiny_config(*LONG_TERMS, *SHORT, run="first"))
    (teacher,) = map(RunFolder, (tmp_path / "runs").glob("teacher_faces/auto-*"))
    teacher.results.unlink()  # as if it had been killed
    train(tiny_config(*LONG_TERMS, *SHORT, "teacher.max_steps=3", run="second"))
    told = " ".join(capsys.readouterr().out.split())
    assert (
        f"It was begun with max_steps=1 instead of 3, and is finished so. To train another, remove {teacher.path}"
        in told
    )
    assert teacher.read_results()["steps"] == 1


def test_a_run_tells_how_fast_it_is(trained_student):
    run = trained_student.run
    for name in ("speed/faces_per_s", "speed/memory_mb"):
        rows = logged(run, name)
        assert rows
        assert all(float(value) > 0 for _, value in rows)
    assert all(0 <= float(value) < 1 for _, value in logged(run, "speed/data_wait_share"))


def test_lightnings_advice_to_use_srun_is_not_shown(tiny_config, tmp_path, monkeypatch, recwarn):
    (tmp_path / "srun").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    train(tiny_config(PLAIN, "trainer.max_steps=1", "test=false"))
    assert not [each for each in recwarn if "srun" in str(each.message)]


def test_profiling_leaves_a_trace_that_viewers_read(tiny_config):
    run = train(tiny_config(PLAIN, "debug=profile", "trainer.max_steps=9", "trainer.limit_val_batches=0")).run
    (trace,) = run.profile.glob("*.pt.trace.json")
    events = json.loads(trace.read_text())["traceEvents"]
    names = {event.get("name", "") for event in events}
    assert any("convolution" in name for name in names)
    assert any(event.get("ph") == "X" and event.get("dur", 0) > 0 for event in events)
    assert list(run.profile.glob("*.txt"))
