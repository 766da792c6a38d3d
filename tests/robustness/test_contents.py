"""Damaged and foreign contents in sound containers: every verb ends with one clear message, and damage never passes."""

import importlib
import json
import re
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pkdn_lightning.config import compose
from pkdn_lightning.data.store import FaceStore
from pkdn_lightning.errors import CheckpointError
from pkdn_lightning.evaluate import evaluate
from pkdn_lightning.files import file_sha256, read_json, write_json
from pkdn_lightning.models.card import CARD_KEY
from pkdn_lightning.models.checkpoints import load_network
from pkdn_lightning.models.checksum import add_checksum, check_checksum
from pkdn_lightning.models.pretrained import WEIGHTS, write_pretrained
from pkdn_lightning.networks.pkdn import PKDNStudent
from tests.predict.conftest import face
from tests.report.conftest import _bases, _quick_timing, celeba, make_run  # noqa: F401  # fixtures

NETWORK = {"_target_": "pkdn_lightning.networks.pkdn.PKDNStudent", "width": 4, "rcabs_per_level": 1, "scale": 4}
CARD = {"network": NETWORK, "scale": 4, "encoding": "colour", "degradation": "pil", "size_px": 32}


def call(verb: str, *arguments: str) -> int:
    """Runs a verb as the command line does and returns its exit status."""
    before, sys.argv = sys.argv, [f"{verb}.py", *arguments]
    try:
        importlib.import_module(f"pkdn_lightning.{verb}").main()
    except SystemExit as ended:
        return int(ended.code or 0)
    finally:
        sys.argv = before
    return 0


def refused(capsys, expected: str, verb: str, *arguments: str) -> None:
    """Runs a verb that has to end with a message."""
    status, told = call(verb, *arguments), capsys.readouterr().err
    assert status == 1, told
    assert "Traceback" not in told
    assert re.search(expected, told), told
    message = re.search(r"(?ms)^(Checkpoint|Data)Error: .*", told)
    assert message, told
    assert len(message[0].splitlines()) <= 5


# Models: what is in the file, and what is said of it.


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(0)
    return PKDNStudent(width=4, rcabs_per_level=1, scale=4).state_dict()


def changed(**changes):
    """Returns a card with other entries; None removes one."""
    return {key: value for key, value in {**CARD, **changes}.items() if value is not None}


def first(state, value):
    """Returns weights with another first tensor."""
    return {**state, next(iter(state)): value(next(iter(state.values())))}


def same(state):
    return state


MODELS = {
    "no network": (changed(network=None), same, "network is missing"),
    "network is text": (changed(network="PKDN"), same, "network is 'PKDN', expected a mapping"),
    "no target": (changed(network={"width": 4}), same, r"network\._target_ is missing"),
    "another target": (changed(network={"_target_": "os.system"}), same, "Only networks of pkdn_lightning"),
    "a function": (changed(network={"_target_": "pkdn_lightning.networks.cost.count_macs"}), same, "cannot build|none"),
    "width is text": (changed(network=NETWORK | {"width": "x"}), same, "cannot build"),
    "width is huge": (changed(network=NETWORK | {"width": 10**9}), same, "width is 1000000000"),
    "width is large": (changed(network=NETWORK | {"width": 30_000}), same, "weights of another network"),
    "width is negative": (changed(network=NETWORK | {"width": -1}), same, "cannot build"),
    "no scale": (changed(scale=None), same, "scale is missing"),
    "scale 0": (changed(scale=0), same, "scale is 0, expected an integer from 1 to 64"),
    "scale is text": (changed(scale="8"), same, "scale is '8', expected an integer"),
    "scale is a list": (changed(scale=[8]), same, "scale is a list of 1"),
    "scale is true": (changed(scale=True), same, "scale is True"),
    "another scale": (changed(scale=8), same, "contradicts itself: scale 8, but a network of scale 4"),
    "size is text": (changed(size_px="128"), same, "size_px is '128'"),
    "size does not fit": (changed(size_px=30), same, "contradicts itself: scale 4, but size_px 30"),
    "no encoding": (changed(encoding=None), same, "encoding is missing"),
    "degradation": (changed(degradation="blur"), same, "degradation is 'blur', expected 'pil' or 'matlab'"),
    "data is text": (changed(data="celeba"), same, "data is 'celeba', expected a mapping or nothing"),
    "experiment is a list": (changed(experiment=["a"]), same, "experiment is a list"),
    "card is a list": ([1], same, "it is a list of 1, expected a mapping"),
    "no weights": (CARD, lambda state: {}, "weights of another network"),
    "a shape": (CARD, lambda state: first(state, lambda each: each[:1]), r"is \(1, .*expected \(4, "),
    "NaN": (CARD, lambda state: first(state, lambda each: each * torch.nan), "not finite"),
    "infinite": (CARD, lambda state: first(state, lambda each: each / 0), "not finite"),
    "integers": (CARD, lambda state: first(state, lambda each: each.int()), "int32, expected torch.float32"),
    "complex": (CARD, lambda state: first(state, lambda each: each.to(torch.complex64)), "complex64"),
}
NOT_TENSORS = {
    "text": (CARD, lambda state: first(state, lambda each: "x"), "holds str instead of a tensor"),
    "nothing": (CARD, lambda state: first(state, lambda each: None), "holds NoneType instead of a tensor"),
    "a list": (CARD, lambda state: [1, 2], "holds list as 'state_dict'"),
}


def write_checkpoint(file: Path, card, state) -> Path:
    named = {f"net.{name}": value for name, value in state.items()} if isinstance(state, dict) else state
    torch.save({CARD_KEY: card, "state_dict": named}, file)
    return file


def predict(model: Path) -> tuple[str, ...]:
    face(size=32).save("face.png")
    return "predict", f"model={model}", "input=face.png", "output=out", "mode=aligned", "accelerator=cpu"


@pytest.mark.parametrize("name", [*MODELS, *NOT_TENSORS])
def test_a_checkpoint(name, weights, capsys):
    card, change, expected = {**MODELS, **NOT_TENSORS}[name]
    refused(capsys, expected, *predict(write_checkpoint(Path("a.ckpt"), card, change(weights))))


@pytest.mark.parametrize("name", MODELS)
def test_a_safetensors_file(name, weights, capsys):
    card, change, expected = MODELS[name]
    write_pretrained("a", card if isinstance(card, dict) else {}, change(weights))
    if not isinstance(card, dict):
        save_file(dict(weights), Path("a", WEIGHTS), {CARD_KEY: json.dumps(card)})
    refused(capsys, expected, *predict(Path("a")))


@pytest.mark.parametrize("verb", ["evaluate", "info", "export", "demo"])
def test_other_verbs_say_the_same(verb, weights, store, capsys):
    file = write_checkpoint(Path("a.ckpt"), changed(scale=0), weights)
    arguments = {
        "evaluate": (f"models.a={file}", f"data.store={store.path}", "data.scale=4", "data.name=faces", "run_dir=ev"),
        "info": (f"models.a={file}",),
        "export": (f"model={file}", "output=out"),
        "demo": (f"model={file}", "browser=false"),
    }
    refused(capsys, "scale is 0", verb, *arguments[verb])


FILES = {
    "a.ckpt": ("", "text", "binary", "zip", "half"),
    "a.safetensors": ("", "text", "binary", "zip"),
    "a.onnx": ("", "text", "binary", "zip"),
    "a.pt2": ("", "text", "binary", "zip"),
}


@pytest.mark.parametrize(("name", "content"), [(name, each) for name, contents in FILES.items() for each in contents])
def test_files_of_another_kind(name, content, weights, capsys):
    pytest.importorskip("onnxruntime")
    file = Path(name)
    if content == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a/data.pkl", "no pickle")
    elif content == "half":
        whole = write_checkpoint(file, CARD, weights).read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
    else:
        file.write_bytes({"": b"", "text": b"root:x:0:0:root:/root:/bin/bash\n" * 40, "binary": _noise(5000)}[content])
    refused(capsys, re.escape(name), *predict(file), "trust=true")


def _noise(count: int) -> bytes:
    return np.random.default_rng(0).integers(0, 256, count, dtype=np.uint8).tobytes()


@pytest.mark.parametrize("model", ["/etc/passwd", ".", "empty", "nowhere.ckpt"])
def test_paths_that_are_no_models(model, capsys):
    Path("empty").mkdir()
    refused(capsys, "is not a run folder|No run folder and no checkpoint|cannot be read", *predict(Path(model)))


def test_a_program_needs_trust(capsys):
    Path("a.pt2").write_bytes(b"PK")
    refused(capsys, "can run any code when it is read(?s:.*)trust=true", *predict(Path("a.pt2")))
    refused(capsys, "can run any code", "demo", "model=a.pt2", "browser=false")
    refused(capsys, "exported program, not weights", "info", "models.a=a.pt2")


# Bytes that changed.


def damaged(content: bytes, seed: int) -> bytes:
    """Returns a file with 1 to 20 other bytes."""
    draw, made = np.random.default_rng(seed), bytearray(content)
    for place in draw.choice(len(made), draw.integers(1, 21), replace=False):
        made[place] ^= int(draw.integers(1, 256))
    return bytes(made)


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors", ".onnx", ".pt2"])
def test_none_of_100_damaged_files_is_loaded(suffix, weights):
    file = Path(f"a{suffix}")
    if suffix == ".safetensors":
        write_pretrained(".", CARD, weights).rename(file)
    elif suffix == ".onnx":
        file.write_bytes(b"\x08\x0a" + _noise(50_000))  # its checksum is compared before it is read
        add_checksum(file)
    else:
        add_checksum(write_checkpoint(file, CARD, weights))
    check_checksum(file)
    content = file.read_bytes()
    cuts = (1, 7, 8, 9, 30, 5000) if suffix != ".onnx" else ()  # what is cut off there, its reader notices
    for each in [*(damaged(content, seed) for seed in range(100)), *(content[:-cut] for cut in cuts)]:
        file.write_bytes(each)
        with pytest.raises(CheckpointError, match=re.escape(file.name)):
            load_network(file) if suffix in (".ckpt", ".safetensors") else check_checksum(file)


def test_every_third_byte_of_a_file_counts(weights):
    small = {"one": torch.arange(3.0)}
    add_checksum(write_checkpoint(Path("a.ckpt"), CARD, small))
    write_pretrained(".", CARD, small).rename("a.safetensors")
    for file in (Path("a.ckpt"), Path("a.safetensors")):
        content = file.read_bytes()
        for place in range(0, len(content), 3):
            file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            with pytest.raises(CheckpointError):
                load_network(file)  # the checksum, or whatever else the byte spoils; the weights fit no network


def test_files_without_a_checksum_are_loaded(weights):
    load_network(write_checkpoint(Path("a.ckpt"), CARD, weights))
    save_file(dict(weights), "a.safetensors", {CARD_KEY: json.dumps(CARD)})
    load_network("a.safetensors")
    torch.save({CARD_KEY: CARD, "state_dict": {f"net.{key}": value for key, value in weights.items()}}, "old.ckpt",
               _use_new_zipfile_serialization=False)  # fmt: skip
    load_network("old.ckpt")


# Stores: what is changed, and what is said of it. The hashes are right again afterwards.


def _manifest(**changes):
    def change(path: Path) -> None:
        content = {**read_json(path / "manifest.json"), **changes}
        write_json(path / "manifest.json", {key: value for key, value in content.items() if value is not None})

    return change


def _array(name: str, change):
    def write(path: Path) -> None:
        np.save(path / name, change(np.load(path / name)))

    return write


def _index(change):
    def write(path: Path) -> None:
        (path / "index.csv").write_text(change((path / "index.csv").read_text()))

    return write


def _bytes(name: str, content: bytes):
    return lambda path: (path / name).write_bytes(content)


def _label_19(maps):
    maps[3, 0, 0] = 19
    return maps


STORES = {
    "no name": (_manifest(name=None), "name is missing"),
    "no hashes": (_manifest(sha256=None), "sha256 is missing"),
    "hashes are a list": (_manifest(sha256=["hr.npy"]), "sha256 is a list"),
    "no splits": (_manifest(splits=None), "splits is missing"),
    "splits are text": (_manifest(splits={"train": "13", "val": 3, "test": 5}), r"splits\.train is '13'"),
    "other counts": (_manifest(splits={"train": 12, "val": 3, "test": 5}), "lists the faces .*, but manifest.json"),
    "no provenance": (_manifest(provenance=None), "provenance is missing"),
    "a version": (_manifest(schema_version="one"), "schema_version is 'one'"),
    "a newer version": (_manifest(schema_version=2), "has store version 2; this package reads version 1"),
    "other labels": (_manifest(labels=["skin"]), "lists other labels"),
    "no mapping": (_bytes("manifest.json", b"[]"), "it is a list of 0"),
    "no JSON": (_bytes("manifest.json", b"{"), r"manifest\.json cannot be read"),
    "binary": (_bytes("manifest.json", b"\xff\xfe\x00"), r"manifest\.json cannot be read"),
    "a column less": (_index(lambda text: text.replace(",identity", "", 1)), "has the columns name, split, source;"),
    "another column": (
        _index(lambda text: text.replace("identity", "who", 1)),
        "expected name, split, source, identity",
    ),
    "a short row": (_index(lambda text: text.replace("train", "", 1).replace(",,", "", 1)), r"index\.csv, line 2"),
    "a long row": (_index(lambda text: text.replace("000,", "000,1,2,3,", 1)), r"index\.csv, line 2"),
    "another split": (_index(lambda text: text.replace("train", "trian", 1)), "with a split of train, val, test"),
    "a row less": (_index(lambda text: text[: text[:-1].rindex("\n") + 1]), "lists the faces"),
    "a binary index": (_bytes("index.csv", b"\xff\x00\xfe"), r"index\.csv"),
    "fewer maps": (_array("parsing.npy", lambda maps: maps[:-2]), r"uint8 of shape \(19, 32, 32\); expected"),
    "fewer faces": (_array("hr.npy", lambda hr: hr[:-1]), r"expected uint8 of shape \(20, 32, 32\)"),
    "float32": (_array("hr.npy", lambda hr: hr.astype(np.float32)), r"hr\.npy holds float32 .*expected uint8"),
    "int64 maps": (_array("parsing.npy", lambda maps: maps.astype(np.int64)), "holds int64"),
    "other sides": (_array("hr.npy", lambda hr: hr[:, :16]), r"shape \(21, 16, 32, 3\)"),
    "no channels": (_array("hr.npy", lambda hr: hr[..., 0]), r"expected uint8 of shape \(21, 32, 32, 3\)"),
    "flat": (_array("hr.npy", lambda hr: hr.ravel()), "expected uint8"),
    "small maps": (_array("parsing.npy", lambda maps: maps[:, ::2, ::2]), r"shape \(21, 16, 16\)"),
    "label 19": (_array("parsing.npy", _label_19), "holds the label 19, expected 0 to 18"),
    "truncated": (lambda path: (path / "hr.npy").write_bytes((path / "hr.npy").read_bytes()[:-999]), "cannot be read"),
    "no array": (_bytes("hr.npy", b"text"), r"hr\.npy cannot be read"),
    "empty": (_bytes("parsing.npy", b""), r"parsing\.npy cannot be read"),
    "objects": (lambda path: np.save(path / "hr.npy", np.array([None]), allow_pickle=True), "cannot be read"),
    "an archive": (lambda path: np.savez((path / "hr.npy").open("wb"), a=np.zeros(3)), "an archive of arrays"),
}


def rehash(path: Path) -> None:
    manifest = read_json(path / "manifest.json")
    if isinstance(manifest.get("sha256"), dict):
        manifest["sha256"] = {name: file_sha256(path / name) for name in manifest["sha256"]}
        write_json(path / "manifest.json", manifest)


@pytest.mark.parametrize("name", STORES)
def test_a_store(name, store, capsys):
    damage, expected = STORES[name]
    path = Path(shutil.copytree(store.path, "st"))
    damage(path)
    rehash(path)
    refused(capsys, expected, "prepare", "verify=st")


TRAIN = ("experiment=student_celeba", "data.name=faces", "data.scale=4", "logger=csv", "trainer=cpu", "run_dir=run",
         "model.width=4", "model.levels=2", "model.rcabs_per_level=1", "trainer.max_epochs=-1", "trainer.max_steps=2",
         "objective=reconstruction", "teacher=none", "data.batch_size=4")  # fmt: skip


@pytest.mark.parametrize(("name", "verify"), [("a short row", "true"), ("float32", "false"), ("label 19", "false")])
def test_a_store_in_training_and_evaluation(name, verify, store, capsys):
    damage, expected = STORES[name]
    path = Path(shutil.copytree(store.path, "st"))
    damage(path)
    rehash(path)
    where = ("data.store=st", f"data.verify={verify}")
    if (name, verify) != ("label 19", "false"):  # unverified, a label is found when it is read
        refused(capsys, expected, "evaluate", "data=folder", "data.name=faces", "data.scale=4", "run_dir=ev", *where)
    refused(capsys, expected, "train", *TRAIN, *where)


def test_landmarks(tmp_path):
    from tests.prepare.conftest import make

    path = make(tmp_path / "marked", train=3, val=1, test=1, maps=False).path
    for change, expected in (
        (lambda marks: marks[:, :5], "expected float32 of shape"),
        (lambda marks: marks.astype(np.float64), "holds float64"),
        (lambda marks: marks * np.nan, "not finite"),
    ):
        np.save(path / "landmarks.npy", change(np.full((5, 68, 2), 1, np.float32)))
        rehash(path)
        with pytest.raises(Exception, match=expected):
            FaceStore.open(path)


# Reports: broken runs among good ones.


def _json(name: str, **changes):
    def write(run) -> None:
        write_json(run.path / name, {**read_json(run.path / name), **changes})

    return write


def _text(name: str, content: str | bytes):
    return lambda run: (run.path / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def _config(old: str, new: str):
    return lambda run: run.config.write_text(re.sub(old, new, run.config.read_text(), count=1))


def _weights(change):
    def write(run) -> None:
        checkpoint = torch.load(run.best)
        change(checkpoint)
        torch.save(checkpoint, run.best)

    return write


RUNS = {
    "results_no_metrics": (_json("results.json", metrics=[1]), "metrics is a list"),
    "results_steps": (_json("results.json", steps="many"), "steps is 'many'"),
    "results_data": (_json("results.json", data={"name": "celeba"}), "data.sha256 is missing"),
    "results_garbage": (_text("results.json", b"\xff\x00{"), "results.json cannot be read"),
    "config_garbage": (_text("config.yaml", b"\xff\x00: ["), "config.yaml is missing or cannot be read"),
    "config_list": (_text("config.yaml", "- 1\n"), "config.yaml is damaged"),
    "config_empty": (_text("config.yaml", ""), "config.yaml is damaged"),
    "config_no_model": (_config(r"_target_: \S*PKDNStudent", "target: x"), "is damaged"),
    "config_width": (_config("width: 8", "width: x"), "another network than its checkpoint"),
    "config_scale": (_config("  scale: 4", "  scale: four"), "is damaged|another network"),
    "config_batch": (_config("batch_size: 4", "batch_size: [4]"), "batch_size is a list"),
    "config_seed": (_config(r"(?m)^seed: \d+", "seed: none"), "seed is 'none'"),
    "weights_gone": (lambda run: run.best.unlink(), "has no checkpoint yet"),
    "weights_half": (lambda run: run.best.write_bytes(run.best.read_bytes()[:3000]), "damaged or truncated"),
    "weights_nan": (_weights(lambda each: next(iter(each["state_dict"].values())).fill_(torch.nan)), "not finite"),
    "weights_card": (_weights(lambda each: each[CARD_KEY].pop("scale")), "scale is missing"),
}
HARMLESS = {
    "metrics_garbage": _text("metrics.csv", b"\xff\x00,\n\x00"),
    "metrics_columns": _text("metrics.csv", "a,b\n1\n2,3,4,5\n"),
    "run_garbage": _text("run.json", "["),
}


def test_a_report_names_broken_runs_and_shows_the_others(make_run, capsys):  # noqa: F811
    for seed, (name, damage) in enumerate(HARMLESS.items()):
        damage(make_run(name, f"seed={seed}"))
    for name, (damage, _) in RUNS.items():
        damage(make_run(name, "seed=77"))
    status = call("report", "runs=runs", "accelerator=cpu", "faces=1")
    told = capsys.readouterr()
    assert status == 0, told.err
    for name, (_, expected) in RUNS.items():
        assert re.search(rf"Not in the tables: runs/{name}: .*({expected})", told.out), (name, told.out)
    page = Path("runs/report/report.md").read_text()
    assert all(f"runs/{name}" in page for name in (*RUNS, *HARMLESS))
    assert "1 rows of 3 runs" in told.out


@pytest.mark.parametrize(
    "name",
    ["a|b", "`a`", "<img src=x onerror=alert(1)>", "[x](http://example.org)", "*a*", "a\nb", "[/b]", "$x$ & &lt;"],
)
def test_names_in_tables_stay_names(name, store, weights):
    place = ("data=folder", f"data.store={store.path}", "data.name=faces", "data.scale=4", "run_dir=ev")
    cfg = compose("evaluate", place)
    cfg.models[name] = str(write_checkpoint(Path("a.ckpt"), CARD, weights))
    evaluate(cfg)
    lines = Path("ev/table.md").read_text().splitlines()
    assert len(lines) == 4
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert not re.search(r"(?<!\\)[<`*\[]|(?<!\\)&lt;", lines[3])
