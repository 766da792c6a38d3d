"""What W&B, TensorBoard and MLflow are told of a run, read back from what they wrote."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from lightning.pytorch.loggers import WandbLogger

from pkdn_lightning.errors import ConfigError, PKDNError, TrainingError
from pkdn_lightning.files import file_sha256
from pkdn_lightning.runs import RunFolder
from pkdn_lightning.train import train
from pkdn_lightning.train.build import build_loggers
from pkdn_lightning.train.callbacks import LastCheckpoint
from pkdn_lightning.train.resume import saved_config
from pkdn_lightning.train.tracking.artifacts import checkpoint_artifact, store_artifact
from pkdn_lightning.train.tracking.trackers import begin
from tests.train.wandb_log import read_log

PLAIN = "objective=reconstruction"


@pytest.fixture(autouse=True)
def _wandb_keeps_to_itself(tmp_path, monkeypatch):
    for place in ("DATA", "CACHE", "ARTIFACT", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{place}_DIR", str(tmp_path / "kept"))


@pytest.fixture
def stop_after_two_steps(monkeypatch):
    """Asks the next training to stop, as Ctrl-C would."""
    original = LastCheckpoint.on_train_batch_end

    def ask(self, trainer, *args):
        self._stop_asked = trainer.global_step == 2
        original(self, trainer, *args)

    monkeypatch.setattr(LastCheckpoint, "on_train_batch_end", ask)


def test_teacher_and_student_of_one_process_are_two_runs_with_a_lineage(tiny_config, tmp_path, store, capfd):
    student = train(tiny_config("logger=wandb", "tags=[mine]", "objective.ts.schedule=constant")).run
    assert "WARNING" not in capfd.readouterr().err  # W&B warns of options that the logger passes unasked
    (home,) = (tmp_path / "runs").glob("teacher_faces/auto-*")
    teacher = RunFolder(home)
    taught, learned = read_log(teacher.path), read_log(student.path)

    assert taught.run.run_id != learned.run.run_id
    assert [log.run.job_type for log in (taught, learned)] == ["teacher", "student"]
    assert [log.run.run_group for log in (taught, learned)] == ["teacher_faces", "student_faces"]
    assert taught.run.display_name == f"teacher_faces {home.name}"
    assert list(learned.run.tags) == ["data=faces", "seed=0", "mine"]
    assert taught.exit_code == learned.exit_code == 0

    assert learned.config["teacher"] == {"path": str(teacher.best), "sha256": file_sha256(teacher.best)}
    assert learned.config["data"]["sha256"] == store.sha256
    assert learned.config["objective"]["ts"]["weight"] == 0.1
    assert not {"logger", "paths"} & learned.config.keys()

    results = student.read_results()
    assert learned.summary["best/val/psnr_y"] == results["metrics"]["best/val/psnr_y"]
    assert learned.summary["val/psnr_y"] == {
        "max": max(row["val/psnr_y"] for row in learned.history if "val/psnr_y" in row)
    }
    assert learned.summary["test/faces/ssim_y"] == pytest.approx(results["metrics"]["test/faces/ssim_y"])
    assert (learned.summary["params"], learned.summary["macs"]) == (results["params"], results["macs"])
    assert learned.defined["val/psnr_y"].step_metric == "trainer/global_step"
    assert learned.defined["val/psnr_y"].summary.max

    images = [json.dumps(row) for row in learned.history if "val/faces._type" in row or "val/faces" in row]
    assert len(images) == 2  # of validations after steps 3 and 6
    (folder,) = student.path.glob("wandb/offline-run-*")
    assert len(list((folder / "files/media/images/val").glob("*.png"))) == 2

    (made,) = taught.artifacts
    assert (made.name, made.type) == ("teacher_faces", "model")
    assert made.digest == checkpoint_artifact(teacher.best, "teacher_faces").digest  # what the student would declare
    assert [entry.ref for entry in made.manifest.contents] == [teacher.best.as_uri()]


def test_a_resumed_run_is_one_run_and_a_new_one_is_another(tiny_config, stop_after_two_steps, monkeypatch):
    cfg = tiny_config(PLAIN, "logger=wandb")
    with pytest.raises(PKDNError, match="Stopped"):
        train(cfg)
    monkeypatch.undo()
    run = train(saved_config(cfg.run_dir, [])).run
    begun = run.read_results()["id"]
    sittings = [folder.name for folder in run.path.glob("wandb/offline-run-*")]
    assert len(sittings) == 2
    assert all(begun in name for name in sittings)  # `wandb sync` makes one run of them
    shutil.rmtree(run.path)
    again = train(tiny_config(PLAIN, "logger=csv")).run  # where the old one was, which may be uploaded already
    assert again.path == run.path
    assert again.read_results()["id"] != begun


def test_a_failed_run_is_closed_as_failed(tiny_config):
    cfg = tiny_config(PLAIN, "logger=wandb", "optimizer.lr=1e30", "trainer.val_check_interval=1")
    with pytest.raises(TrainingError):
        train(cfg)
    log = read_log(Path(cfg.run_dir))
    assert (log.exit_code, log.run.job_type) == (1, "plain")


def test_a_run_that_is_online_declares_what_it_is_made_from(store, tmp_path):
    used = []
    run = SimpleNamespace(
        offline=False, config={}, summary={}, define_metric=lambda *args, **kwargs: None, use_artifact=used.append
    )
    file = tmp_path / "best.ckpt"
    file.write_bytes(b"weights")
    inputs = [lambda: store_artifact(store), lambda: checkpoint_artifact(file, "teacher, published")]
    logger = WandbLogger(experiment=run)
    logger.log_hyperparams = lambda params: None
    begin(logger, {"params": 1}, inputs)
    assert [(artifact.name, artifact.type) for artifact in used] == [
        ("store-faces", "dataset"),
        ("teacher-published", "model"),
    ]
    assert set(used[0].manifest.entries) == {"manifest.json", "index.csv", "hr.npy", "parsing.npy"}
    assert run.summary == {"params": 1}


def test_a_teacher_is_not_trained_inside_a_job_of_a_wandb_sweep(tiny_config, monkeypatch):
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    with pytest.raises(ConfigError, match="Train it first: pkdn train experiment=teacher data.name=faces data.store="):
        train(tiny_config())


def test_tensorboard_gets_scalars_images_and_hyperparameters(tiny_config):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train(tiny_config(PLAIN, "logger=tensorboard")).run
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    assert {"val/psnr_y", "train/loss/sr", "test/faces/psnr_y", "best/val/psnr_y"} <= set(events.Tags()["scalars"])
    assert [image.step for image in events.Images("val/faces")] == [3, 6]
    assert [scalar.step for scalar in events.Scalars("best/val/psnr_y")] == [6]
    assert "_hparams_/session_start_info" in events.summary_metadata
    assert run.metrics.is_file()


@pytest.mark.slow  # SQLite takes seconds to make its tables
def test_mlflow_gets_all_and_a_resumed_run_is_one_run(tiny_config, tmp_path, stop_after_two_steps, monkeypatch):
    from mlflow.tracking import MlflowClient

    cfg = tiny_config(PLAIN, "logger=mlflow")
    with pytest.raises(PKDNError, match="Stopped"):
        train(cfg)
    monkeypatch.undo()
    run = train(saved_config(cfg.run_dir, ["trainer.max_steps=7"])).run  # MLflow refuses to change a parameter
    client = MlflowClient(f"sqlite:///{tmp_path / 'runs/mlflow/mlflow.db'}")
    experiment = client.get_experiment_by_name("student_faces")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.tags["role"] == "plain"
    assert found.data.params["objective/sr/weight"] == "1.0"
    assert found.data.metrics["best/val/psnr_y"] == pytest.approx(run.read_results()["metrics"]["best/val/psnr_y"])
    steps = [point.step for point in client.get_metric_history(found.info.run_id, "train/loss")]
    assert (steps[0], steps[-5:]) == (0, [2, 3, 4, 5, 6])
    images = [file.path for file in client.list_artifacts(found.info.run_id, "images") if file.path.endswith("png")]
    assert len(images) == 2


def test_a_missing_package_is_named_with_what_installs_it(monkeypatch):
    def absent(*args, **kwargs):
        raise ModuleNotFoundError("No module named 'tensorboard'")

    monkeypatch.setattr("lightning.pytorch.loggers.TensorBoardLogger.__init__", absent)
    spec = {"_target_": "lightning.pytorch.loggers.TensorBoardLogger", "save_dir": "."}
    with pytest.raises(ConfigError, match=r"pip install 'pkdn-lightning\[tracking\]'"):
        build_loggers({"tensorboard": spec}, "id", "plain")
