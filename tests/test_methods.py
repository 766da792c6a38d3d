"""Every compared method on the whole way: its experiment trains, resumes, evaluates, is exported, and can memorise."""

import numpy as np
import pytest
import torch

from pkdn_lightning.config import compose
from pkdn_lightning.config.instances import build_network
from pkdn_lightning.data.batches import Plan, StoreDataset, prepare_batch
from pkdn_lightning.data.degradation import degrade
from pkdn_lightning.data.store import Entry, FaceStore
from pkdn_lightning.errors import DataError
from pkdn_lightning.evaluate import evaluate
from pkdn_lightning.export.comparison import restore
from pkdn_lightning.export.graphs import trace, write_onnx
from pkdn_lightning.export.quantize import closeness_db, quantise
from pkdn_lightning.losses import Progress
from pkdn_lightning.metrics.functional import psnr_y
from pkdn_lightning.models.runtimes import load_runtime
from pkdn_lightning.models.torch_runtimes import fixed_size
from pkdn_lightning.prepare.store_writer import StoreWriter
from pkdn_lightning.train import train
from pkdn_lightning.train.build import build_objective
from pkdn_lightning.train.resume import saved_config
from tests.conftest import TINY, real_face
from tests.predict.conftest import CARD

JUDGE = "module.discriminator.size_px=64"
SMALL = {
    "sparnet": ["model.width=8", "model.max_width=16", "model.res_depth=1", "model.attention_width=8"],
    "sisn": ["model.width=16", "model.groups=1", "model.blocks=1"],
    "rcan": ["model.width=16", "model.groups=1", "model.blocks=1"],
    "kdfsrnet": ["model.width=8", "model.levels=2", "model.rcabs_per_level=1", "teacher.model.rcabs_per_level=1"],
    "kdfsrnet_teacher": ["model.width=8", "model.levels=2", "model.rcabs_per_level=1"],
    "sfmnet": ["model.width=8", "model.heads=2", "model.blocks=1"],
    "fishfsrnet": ["model.width=16", "model.pafbs=1"],
    "urdgn": ["model.widths=[4,8,8,8]", JUDGE],
    "fsrnet": ["model.width=8"],
    "fsrgan": ["model.width=8", JUDGE],
    "dic": [
        "model.steps=2",
        "model.features=8",
        "model.groups=1",
        "model.fusion_blocks=1",
        "model.hourglass_features=16",
    ],
}
SMALL["dicgan"] = [*SMALL["dic"], JUDGE]


# A schedule that ends with the training would not let it be made longer.
CONSTANT_RATE = (
    "scheduler._target_=torch.optim.lr_scheduler.ConstantLR", "scheduler.max_lr=null", "scheduler.pct_start=null",
    "scheduler.div_factor=null", "scheduler.final_div_factor=null", "scheduler.cycle_momentum=null",
)  # fmt: skip


def write(path, *, landmarks: bool) -> FaceStore:
    with StoreWriter(path, name="faces", size_px=64, with_landmarks=landmarks) as writer:
        for number in range(9):
            face = real_face(number, 64)
            split = "val" if number < 2 else "test" if number < 4 else "train"
            writer.add(Entry(f"{number}", split), face.hr, face.parsing, face.landmarks if landmarks else None)
        writer.finish()
    return FaceStore.open(path)


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> FaceStore:
    return write(tmp_path_factory.mktemp("stores") / "faces", landmarks=True)


@pytest.fixture(scope="module")
def faces_without_landmarks(tmp_path_factory) -> FaceStore:
    return write(tmp_path_factory.mktemp("stores") / "bare", landmarks=False)


def config(method: str, store: FaceStore, tmp_path, *overrides: str):
    tiny = [each for each in TINY if not each.startswith(("model.", "data.scale", "data.batch_size"))]
    return compose(
        "train",
        [
            f"experiment={method}", "recipe=common", *tiny, "data.batch_size=2", *SMALL[method],
            f"data.store={store.path}", f"run_dir={tmp_path / method}", f"paths.runs={tmp_path / 'runs'}",
            "trainer.max_steps=4", "trainer.val_check_interval=2", *overrides,
        ],
    )  # fmt: skip


FIRST = ("dic", "urdgn")  # a loss of its own, and an adversarial one; the others are slow


@pytest.mark.parametrize(
    "method", [name if name in FIRST else pytest.param(name, marks=pytest.mark.slow) for name in SMALL]
)
def test_a_method_trains_resumes_and_evaluates(method, faces, tmp_path):
    first = train(config(method, faces, tmp_path, "trainer.max_steps=2", "test=false", *CONSTANT_RATE))
    assert first.run.read_results()["steps"] == 2
    second = train(saved_config(first.run.path, ["trainer.max_steps=4", "test=true"]))
    assert second.run.read_results()["steps"] == 4
    found = evaluate(
        compose("evaluate", ["data=celeba", f"data.store={faces.path}", f"models.it={first.run.path}",
                             f"run_dir={tmp_path / 'table'}"])
    ).means["it"]  # fmt: skip
    assert found["test/celeba/psnr_y"] == pytest.approx(second.metrics["test/faces/psnr_y"], abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("method", [name for name in SMALL if not name.endswith(("gan", "teacher"))])
def test_a_methods_graph_restores_images_of_any_size(method, faces, tmp_path):
    net = build_network(config(method, faces, tmp_path).model).eval()
    program = trace(net, 16)
    any_size = fixed_size(program) is None
    assert any_size == (method != "sfmnet")  # see `trace`
    for shape in [(2, 3, 16, 16), (1, 3, 24, 32)] if any_size else [(2, 3, 16, 16)]:
        lr = torch.rand(shape)
        torch.testing.assert_close(program.module()(lr), net(lr).sr, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("method", [name for name in SMALL if not name.endswith(("gan", "teacher"))])
def test_a_method_in_8_bits_restores_nearly_the_same(method, faces, tmp_path):
    pytest.importorskip("onnxruntime")
    exact, small = tmp_path / "exact.onnx", tmp_path / "small.onnx"
    net = build_network(config(method, faces, tmp_path).model).eval()
    write_onnx(trace(net, 16), CARD | {"size_px": 128}, exact)
    lr = degrade(torch.from_numpy(np.stack([real_face(row).hr for row in range(4)])).permute(0, 3, 1, 2), 8)

    def loss(file):
        return -closeness_db(restore(load_runtime(file), lr), restore(load_runtime(exact), lr))

    assert quantise(exact, small, lr, loss, may_lose_db=-30).loss_db < -30


@pytest.mark.parametrize("method", [pytest.param("dic", marks=pytest.mark.slow), "fsrnet"])
def test_where_there_are_no_landmarks_components_are_the_prior(method, faces_without_landmarks, tmp_path):
    cfg = config(method, faces_without_landmarks, tmp_path)
    assert cfg.data.heatmaps == "components"
    assert cfg.model.get("keypoints", cfg.model.get("landmarks")) == 5
    assert train(cfg).run.finished


def test_a_prior_that_the_store_lacks_is_named_with_the_method(bare_store, tmp_path):
    with pytest.raises(DataError, match="has no landmarks, which DIC needs"):
        train(config("dic", bare_store, tmp_path, "data.heatmaps=landmarks", "model.keypoints=68"))
    with pytest.raises(DataError, match="has no parsing maps, which FSRNet needs for component heatmaps"):
        train(config("fsrnet", bare_store, tmp_path))


def batch_of_two(cfg, store: FaceStore):
    rows = store.indices("train")[:2]
    raw = StoreDataset(store)[Plan(rows, rows < 0)]
    data = cfg.data
    return prepare_batch(
        raw, scale=data.scale, degradation=data.degradation, encoding=data.encoding, heatmaps=data.heatmaps,
        heatmap_px=data.heatmap_px,
    )  # fmt: skip


def fit(net, objective, batch, steps: int, until_db: float = float("inf")) -> tuple[list[float], float]:
    """Trains on one batch; returns the losses and the PSNR in training mode at the end."""
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps)
    losses, reached = [], 0.0
    for number in range(steps):
        output = net(batch["lr"], batch["parsing"]) if net.uses_parsing else net(batch["lr"])
        total, _ = objective(output, batch["hr"], None, Progress(number, 0), batch)
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(total.item())
        reached = psnr_y(output.sr.detach(), batch["hr"]).mean().item()
        if reached >= until_db:
            break
    return losses, reached


WITHOUT_GAME = [method for method in SMALL if method not in ("fsrgan", "dicgan")]  # the same networks as without


OWN_LOSS = ("dic", "fsrnet", "kdfsrnet", "urdgn")  # what tests/networks cannot know; the others are slow


@pytest.mark.parametrize(
    "method", [name if name in OWN_LOSS else pytest.param(name, marks=pytest.mark.slow) for name in WITHOUT_GAME]
)
def test_the_loss_falls(method, faces, tmp_path):
    torch.manual_seed(1)
    cfg = config(method, faces, tmp_path, *(["objective=reconstruction"] if method == "kdfsrnet" else []))
    losses, _ = fit(build_network(cfg.model), build_objective(cfg.objective), batch_of_two(cfg, faces), 12)
    assert min(losses[-3:]) < 0.85 * losses[0]


LARGER = {
    "sparnet": ["model.res_depth=2"],
    "sisn": ["model.groups=2", "model.blocks=3"],
    "rcan": ["model.groups=2", "model.blocks=3"],
    "kdfsrnet": ["model.width=32", "model.rcabs_per_level=1"],
    "kdfsrnet_teacher": ["model.width=32", "model.rcabs_per_level=1"],
    "sfmnet": ["model.width=16", "model.heads=4", "model.blocks=1"],
    "fishfsrnet": ["model.width=32", "model.pafbs=1"],
    "urdgn": ["model.widths=[16,64,64,64]", JUDGE],
    "fsrnet": ["model.width=32"],
    "dic": ["model.steps=2", "model.features=24", "model.groups=2", "model.hourglass_features=32"],
}


@pytest.mark.slow
@pytest.mark.parametrize("method", LARGER)
def test_a_method_memorises_two_faces(method, faces, tmp_path):
    torch.manual_seed(0)
    shared = config(method, faces, tmp_path)
    cfg = compose(
        "train",
        [f"experiment={method}", f"data.store={faces.path}", *LARGER[method],
         *(["objective=reconstruction"] if method == "kdfsrnet" else [])],
    )  # fmt: skip
    net = build_network(cfg.model)
    _, reached = fit(net, build_objective(cfg.objective), batch_of_two(shared, faces), 800, until_db=30.0)
    assert reached >= 30.0
