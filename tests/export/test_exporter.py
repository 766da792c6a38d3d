"""Exports: every file restores what the original restores, knows what it is, and runs no code."""

import errno
import json
import os
import pickle
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pkdn_lightning.config import compose
from pkdn_lightning.data.degradation import degrade
from pkdn_lightning.errors import CheckpointError, ConfigError, DataError, ShapeError
from pkdn_lightning.export import export, graphs
from pkdn_lightning.export import exporter as exporting_running
from pkdn_lightning.export.comparison import restore
from pkdn_lightning.export.exporter import FILES, RECORD
from pkdn_lightning.export.quantize import quantise
from pkdn_lightning.models import onnx_int8
from pkdn_lightning.models.pretrained import CARD_KEY, write_pretrained
from pkdn_lightning.models.runtimes import load_runtime
from pkdn_lightning.networks.contract import SROutput
from pkdn_lightning.networks.pkdn import PKDNStudent, PKDNTeacher
from pkdn_lightning.predict import predict

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

CARD = {"scale": 4, "encoding": "colour", "degradation": "pil", "experiment": "tiny", "data": None, "size_px": 32}
STUDENT = {
    "_target_": "pkdn_lightning.networks.pkdn.PKDNStudent",
    "scale": 4, "width": 8, "levels": 3, "rcabs_per_level": 1, "global_residual": True,
}  # fmt: skip


def write(folder, spec, net):
    return write_pretrained(folder, {**CARD, "network": spec}, net.state_dict()).parent


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    net = PKDNStudent(scale=4, width=8, levels=3, rcabs_per_level=1, global_residual=True)
    return write(tmp_path_factory.mktemp("models") / "student", STUDENT, net)


def exported(model, folder, *overrides):
    return export(compose("export", [f"model={model}", f"output={folder}", "faces=6", "int8_loss_db=9", *overrides]))


@pytest.fixture(scope="module")
def exporting(model, tmp_path_factory):
    """The export of all formats, and what was printed to standard error, by native code too."""
    with tempfile.TemporaryFile() as errors:
        before = os.dup(2)
        os.dup2(errors.fileno(), 2)
        try:
            made = exported(model, tmp_path_factory.mktemp("exported") / "all")
        finally:
            os.dup2(before, 2)
        errors.seek(0)
        return made, errors.read().decode()


@pytest.fixture(scope="module")
def made(exporting):
    return exporting[0]


@pytest.fixture(scope="module")
def runtime(made):
    """Returns a function that loads the file of a format, once."""
    return cache(lambda name: load_runtime(made.folder / FILES[name], trust=True))


class TwoConvolutions(torch.nn.Module):
    """A network that is nothing but its ends."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(3, 12, 3, padding=1), torch.nn.Conv2d(12, 48, 3, padding=1))

    def forward(self, lr):
        return SROutput(torch.nn.functional.pixel_shuffle(self.layers(lr), 4))


def test_a_network_of_two_convolutions_is_in_8_bits_too(tmp_path):
    torch.manual_seed(0)
    exact, small = tmp_path / "exact.onnx", tmp_path / "small.onnx"
    graphs.write_onnx(graphs.trace(TwoConvolutions().eval(), 8), CARD, exact)
    found = quantise(exact, small, torch.rand(4, 3, 8, 8), lambda file: 30.0)
    assert (found.kept, found.convolutions, found.tried) == (1, 2, {0: 30.0, 1: 30.0})
    kinds = [node.op_type for node in onnx.load(small).graph.node]
    assert kinds.count("QuantizeLinear") > 0


def test_the_first_convolutions_stay_in_float32_until_the_loss_is_small(made, tmp_path):
    """The loss that ended the search is in the file."""
    losses = iter([0.09, 0.05, 0.015])
    faces = torch.rand(4, 3, 8, 8)
    found = quantise(made.folder / FILES["onnx"], tmp_path / "a.onnx", faces, lambda file: next(losses))
    assert (list(found.tried.values()), found.loss_db) == ([0.09, 0.05, 0.015], 0.015)
    nodes = onnx.load(tmp_path / "a.onnx").graph.node
    exact = [node for node in nodes if node.op_type == "Conv" and not node.input[0].endswith("DequantizeLinear_Output")]
    assert found.kept == 2 * found.convolutions // 8 <= len(exact)
    assert load_runtime(tmp_path / "a.onnx").card["loss_db"] == 0.015


def test_runtimes_print_no_warnings(exporting):
    assert "onnxruntime" not in exporting[1]


@pytest.fixture(scope="module")
def lr():
    return torch.rand(3, 3, 8, 8)


@pytest.mark.parametrize(("name", "within"), [("safetensors", 0), ("pt2", 1e-5), ("onnx", 1e-5), ("int8", 0.1)])
def test_every_file_restores_as_the_original_does(model, made, runtime, lr, name, within):
    restorer = runtime(name)
    assert restorer.card["experiment"] == "tiny"
    assert (restorer.scale, restorer.lr_px) == (4, 8)
    for batch in (lr, lr[:1]):  # of any size, one too
        torch.testing.assert_close(restore(restorer, batch), restore(load_runtime(model), batch), atol=within, rtol=0)
    assert made.checks[name].difference <= within


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the file of a descriptor is not known")
@pytest.mark.parametrize(
    "failing",
    [
        FILES["safetensors"],
        RECORD,
        pytest.param(FILES["pt2"], marks=pytest.mark.slow),
        pytest.param(FILES["onnx"], marks=pytest.mark.slow),
        pytest.param(FILES["int8"], marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_leaves_no_half_file_and_the_export_can_be_repeated(model, made, tmp_path, monkeypatch, failing):
    folder, fsync = tmp_path / "exported", os.fsync

    def full(file):
        if Path(f"/proc/self/fd/{file}").resolve().name.endswith(f".{failing}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(file)

    needed = [name for name in FILES if name == "safetensors" or FILES[name] == failing]
    formats = f"formats=[{','.join(needed)}]"
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises((OSError, CheckpointError), match=f"No space left on device|{failing}"):
            exported(model, folder, formats)
    assert not (folder / failing).exists()
    assert not list(folder.glob(".*-*"))
    exported(model, folder, formats)
    for name in needed:
        assert (folder / FILES[name]).stat().st_size == (made.folder / FILES[name]).stat().st_size
    assert not (folder / ".unfinished.json").exists()
    with pytest.raises(CheckpointError, match="already holds"):
        exported(model, folder, formats)


@pytest.mark.slow
def test_the_8_bit_file_alone_leaves_a_float_file_that_was_there(model, tmp_path):
    (tmp_path / FILES["onnx"]).write_text("mine")
    exported(model, tmp_path, "formats=[int8]")
    assert (tmp_path / FILES["onnx"]).read_text() == "mine"
    assert (tmp_path / FILES["int8"]).is_file()


def test_the_check_measures_what_it_says(model, made, lr):
    assert made.checks["original"].difference == made.checks["safetensors"].difference == 0
    assert 0 < made.checks["onnx"].difference < 1e-5
    int8 = made.checks["int8"]
    assert 25 < int8.closeness_db < 80
    assert int8.loss_db == pytest.approx(made.checks["original"].psnr_y - int8.psnr_y)
    record = json.loads((made.folder / RECORD).read_text())
    assert record["checks"]["int8"]["closeness_db"] == int8.closeness_db
    assert record["faces"].startswith("6 portraits of the included test split")
    assert record["notes"][-1].startswith("int8: calibrated on 3 portraits of the included training split")


def test_an_onnx_file_says_what_feeds_it(made):
    for name in ("onnx", "int8"):
        model = onnx.load(made.folder / FILES[name])
        known = {entry.key: entry.value for entry in model.metadata_props}
        assert json.loads(known[CARD_KEY])["network"] == STUDENT
        assert (known["scale"], known["channels"]) == ("4", "RGB")
        assert next(each.version for each in model.opset_import if each.domain == "") == graphs.OPSET
        axes = [axis.dim_param or axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim]
        assert axes == ["batch", 3, "height", "width"]


def test_int8_is_in_8_bits(made):
    model = onnx.load(made.folder / FILES["int8"])
    assert sum(node.op_type == "QuantizeLinear" for node in model.graph.node) > 5
    per_channel = [each for each in model.graph.initializer if each.data_type == onnx.TensorProto.INT8 and each.dims]
    assert per_channel


@pytest.mark.parametrize(("name", "within"), [("pt2", 1e-5), ("onnx", 1e-5), ("int8", 0.1)])
def test_images_of_any_size_are_restored(model, runtime, name, within):
    lr = torch.rand(2, 3, 6, 10)
    torch.testing.assert_close(restore(runtime(name), lr), restore(load_runtime(model), lr), atol=within, rtol=0)


@pytest.mark.parametrize("name", ["pt2", "onnx", "int8"])
def test_sides_that_the_network_cannot_divide_are_refused(runtime, name, capfd):
    with pytest.raises(ShapeError, match="cannot take LR of 7x8 pixels"):
        runtime(name)(np.zeros((1, 3, 7, 8), np.float32))
    assert capfd.readouterr().err == ""


class Spectral(torch.nn.Module):
    """A network with a Fourier transform."""

    def forward(self, lr):
        spectrum = torch.fft.rfft2(torch.nn.functional.interpolate(lr, scale_factor=4))
        return SROutput(torch.fft.irfft2(spectrum), {}, {})


@pytest.mark.parametrize(("name", "write_graph"), [("pt2", graphs.write_pt2), ("onnx", graphs.write_onnx)])
def test_fourier_transforms_are_for_one_size(name, write_graph, tmp_path):
    write_graph(graphs.trace(Spectral(), 8), CARD | {"network": STUDENT}, tmp_path / f"model.{name}")
    restorer = load_runtime(tmp_path / f"model.{name}", trust=True)
    lr = torch.rand(3, 3, 8, 8)
    torch.testing.assert_close(restore(restorer, lr), Spectral()(lr).sr, atol=1e-5, rtol=0)
    with pytest.raises(ShapeError, match="was exported for 8x8 only"):
        restorer(np.zeros((1, 3, 12, 12), np.float32))


@pytest.mark.slow
def test_only_the_formats_asked_for_are_written(model, tmp_path):
    made = exported(model, tmp_path / "out", "formats=[pt2]")
    assert (made.folder / FILES["pt2"]).exists()
    assert not (made.folder / FILES["safetensors"]).exists()


@pytest.mark.parametrize("name", ["pt2", "onnx", "int8"])
def test_predict_runs_what_export_wrote(made, store, tmp_path, name):
    hr = torch.from_numpy(np.array(store.hr[:2])).permute(0, 3, 1, 2) / 255
    (tmp_path / "in").mkdir()
    for number, face in enumerate((degrade(hr, 4) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()):
        Image.fromarray(np.ascontiguousarray(face)).save(tmp_path / "in" / f"{number}.png")
    result = predict(
        compose(
            "predict", [f"model={made.folder / FILES[name]}", "input=in", "output=out", "accelerator=cpu", "trust=true"]
        )
    )
    assert result.failed == []
    assert result.rows[0].settings["runtime"] == ("pt2" if name == "pt2" else "onnx")
    assert Image.open(result.folder / "1.png").size == (32, 32)


def test_faces_of_a_store_are_checked_with(model, store, tmp_path):
    made = exported(model, tmp_path / "out", f"store={store.path}", "formats=[safetensors]", "split=test")
    assert json.loads((made.folder / RECORD).read_text())["faces"] == "5 faces of faces/test"
    assert list(made.checks) == ["original", "safetensors"]


class Harmful:
    def __reduce__(self):
        return (pytest.fail, ("code was executed",))


@pytest.mark.parametrize("what", ["weights", "sample_inputs", "custom_obj"])
def test_pickles_inside_a_program_are_not_executed(made, tmp_path, what):
    file = tmp_path / "model.pt2"
    with zipfile.ZipFile(made.folder / FILES["pt2"]) as source, zipfile.ZipFile(file, "w") as target:
        for entry in source.infolist():
            content = source.read(entry)
            if what == "weights" and entry.filename.endswith("weights_config.json"):
                config = json.loads(content)
                next(iter(config["config"].values()))["use_pickle"] = True
                content = json.dumps(config).encode()
            if what == "sample_inputs" and "sample_inputs" in entry.filename:
                content = pickle.dumps(Harmful(), protocol=2)
            target.writestr(entry, content)
        if what == "custom_obj":
            target.writestr("model/data/constants/custom_obj_0", pickle.dumps(Harmful()))
    with pytest.raises(CheckpointError, match="could run code|not a program that this package exported"):
        load_runtime(file, trust=True)


def test_a_program_is_opened_only_if_it_is_trusted(made, monkeypatch):
    monkeypatch.setattr(torch.export, "load", lambda *_, **__: pytest.fail("the program was opened"))
    with pytest.raises(CheckpointError, match="can run any code when it is read(?s:.*)trust=true"):
        load_runtime(made.folder / FILES["pt2"])


class TestErrors:
    def test_nothing_is_overwritten(self, model, made):
        with pytest.raises(CheckpointError, match=r"holds model\.safetensors, model\.pt2, .* nothing was changed"):
            exported(model, made.folder)

    def test_mistakes(self, model, tmp_path):
        with pytest.raises(ConfigError, match="output= is not set"):
            export(compose("export", [f"model={model}"]))
        with pytest.raises(ConfigError, match="Did you mean 'onnx'"):
            exported(model, tmp_path / "out", "formats=[onxx]")
        with pytest.raises(ConfigError, match="faces=0"):
            exported(model, tmp_path / "out", "faces=0", "formats=[safetensors]")
        with pytest.raises(DataError, match="int8 needs faces"):
            exported(model, tmp_path / "out", "faces=1", "formats=[int8]")
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigError, match="Nothing can be written"):
            exported(model, tmp_path / "file" / "out")

    def test_a_teacher_is_written_as_safetensors_only(self, tmp_path):
        spec = {"_target_": "pkdn_lightning.networks.pkdn.PKDNTeacher", "scale": 4, "width": 4, "levels": 2}
        teacher = write(tmp_path / "teacher", spec, PKDNTeacher(scale=4, width=4, levels=2))
        with pytest.raises(ConfigError, match="reads a parsing map"):
            exported(teacher, tmp_path / "out")
        assert exported(teacher, tmp_path / "out", "formats=[safetensors]").checks == {}

    def test_without_onnx_the_message_says_what_to_install(self, model, tmp_path, monkeypatch):
        monkeypatch.setattr(onnx_int8, "find_spec", lambda name: None)
        with pytest.raises(ConfigError, match=r"pip install 'pkdn-lightning\[export\]'"):
            exported(model, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_it_is_pushed_where_that_is_asked(model, tmp_path, monkeypatch):
    pushed = {}
    monkeypatch.setattr(
        exporting_running, "push_to_hub", lambda *arguments, **options: pushed.update(a=arguments, o=options)
    )
    exported(model, tmp_path / "out", "formats=[safetensors]", "push_to=me/student")
    assert pushed == {"a": (tmp_path / "out", "me/student"), "o": {"private": True}}
