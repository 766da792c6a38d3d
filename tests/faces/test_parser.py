"""Parsing maps by BiSeNet: weights, sizes, devices, repaired sides.

Set PKDN_FACES to a folder that holds `celebamask_hq/val/images` and `.../parsing`, and put the public weights beside it
as `weights/bisenet_79999_iter.pth`, to measure the parser against the ground truth.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pkdn_lightning.config.instances import make
from pkdn_lightning.data.labels import LABELS, MIRRORED, ORDERS
from pkdn_lightning.errors import CheckpointError, ConfigError, DataError, ShapeError
from pkdn_lightning.faces.parser import PUBLIC_SHA256, BiSeNetParser
from pkdn_lightning.faces.sides import repair_sides
from pkdn_lightning.files import file_sha256
from pkdn_lightning.networks.bisenet import BiSeNet
from tests.conftest import real_face

ID = {name: number for number, name in enumerate(LABELS)}


def real_faces(count: int, size_px: int) -> list[np.ndarray]:
    return [real_face(number, size_px).hr for number in range(count)]


@pytest.fixture(scope="module")
def net() -> BiSeNet:
    torch.manual_seed(0)
    net = BiSeNet()
    torch.nn.init.normal_(net.conv_out.conv_out.weight)  # or one class wins everywhere
    return net.eval()


@pytest.fixture(scope="module")
def weights(net, tmp_path_factory) -> str:
    file = tmp_path_factory.mktemp("weights") / "bisenet.pth"
    torch.save(net.state_dict(), file)
    return str(file)


@pytest.fixture
def parser(weights):
    def make(**options) -> BiSeNetParser:
        return BiSeNetParser(**({"weights": weights, "sha256": None, "input_px": 64, "device": "cpu"} | options))

    return make


@pytest.fixture(scope="module")
def plain(weights) -> BiSeNetParser:
    """A parser that repairs no sides; its network is made once."""
    return BiSeNetParser(weights=weights, sha256=None, input_px=64, device="cpu", repair_sides=False)


# BiSeNet


def test_importing_it_does_not_import_torch():
    code = "import sys, pkdn_lightning.faces.parser; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_maps_are_the_networks_classes_in_the_order_of_celebamask(net, plain):
    faces = real_faces(3, 64)
    images = torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2) / 255
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.inference_mode():
        classes = net((images - mean) / deviation).argmax(1).numpy()
    maps = plain.parse(["train/a", "train/b", "val/c"], faces)
    assert all(labels.dtype == np.uint8 and labels.shape == (64, 64) for labels in maps)
    assert len(np.unique(maps)) > 1
    same = np.stack(maps) == np.array(ORDERS["bisenet"])[classes]
    assert same.mean() > 0.999  # another memory layout adds in another order


@pytest.mark.parametrize("size_px", [16, 40, 64, 96])
def test_maps_have_the_faces_size(plain, size_px):
    (labels,) = plain.parse(["train/a"], real_faces(1, size_px))
    assert labels.shape == (size_px, size_px)
    assert labels.max() < len(LABELS)


def test_same_faces_same_bytes_in_their_order(parser):
    faces, names = real_faces(5, 32), [f"train/{number}" for number in range(5)]
    first, second = (parser(batch_size=2).parse(names, faces) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_no_faces_need_no_weights(parser):
    made = parser()
    assert made.parse([], []) == []
    assert "_net" not in vars(made)


def test_batches_change_nothing_on_a_cpu(plain):
    faces = real_faces(3, 32)
    np.testing.assert_array_equal(plain.parse(["a"] * 3, faces), [plain.parse(["a"], [face])[0] for face in faces])


@pytest.mark.slow  # tracing the network takes 10 s
def test_int8_depends_on_its_calibration_faces_only(parser):
    pytest.importorskip("onnxruntime")
    faces = real_faces(6, 64)
    full = np.stack(parser().parse(["a"] * 6, faces))
    made = []
    for given in (faces[:4], faces[4:]):
        low = parser(precision="int8")
        low.calibrate(iter(faces[:2]))
        low.parse(["a"] * len(given), given)
        made += low.parse(["a"] * len(given), given)
    assert (np.stack(made) == full).mean() > 0.9
    other = parser(precision="int8")
    other.calibrate(faces[:2])
    np.testing.assert_array_equal(other.parse(["a"] * 6, faces), made)
    assert low.provenance() | {"precision": "int8", "runtime": "onnxruntime"} == low.provenance()


def test_int8_on_a_gpu_or_without_its_extra(parser, monkeypatch):
    with pytest.raises(ConfigError, match=r"precision=int8 is for CPUs, and the device is meta"):
        parser(precision="int8", device="meta").provenance()
    monkeypatch.setattr("pkdn_lightning.models.onnx_int8.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'pkdn-lightning\[export\]'. Or: parser.precision=auto"):
        parser(precision="int8").provenance()


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_agrees_mostly(parser, plain, precision):
    face = real_faces(1, 64)
    (low,), (full,) = parser(precision=precision, repair_sides=False).parse(["a"], face), plain.parse(["a"], face)
    assert (low == full).mean() > 0.9


def test_torchs_settings_are_put_back(parser):
    before = torch.get_num_threads()
    parser(threads=before + 1).parse(["train/a"], real_faces(1, 32))
    assert torch.get_num_threads() == before
    assert not torch.backends.cudnn.deterministic


def test_sides_are_repaired_on_request(parser, plain):
    face = real_faces(1, 64)
    np.testing.assert_array_equal(parser().parse(["a"], face)[0], repair_sides(plain.parse(["a"], face)[0]))


def test_provenance(parser, weights):
    assert parser().provenance() == {
        "parser": "bisenet",
        "weights_sha256": file_sha256(Path(weights)),
        "input_px": 64,
        "precision": "float32",
        "runtime": "torch",
        "repair_sides": True,
    }
    pinned = BiSeNetParser(weights=weights, device="cpu")  # says what it will insist on, without reading the file
    assert pinned.provenance()["weights_sha256"] == PUBLIC_SHA256


@pytest.mark.parametrize("shapes", [[(32, 32, 3), (16, 16, 3)], [(32, 16, 3)], [(32, 32)], [(32, 32, 4)]])
def test_faces_of_odd_shapes(parser, shapes):
    with pytest.raises(ShapeError, match="square RGB faces of one size"):
        parser().parse(["a"] * len(shapes), [np.zeros(shape, np.uint8) for shape in shapes])


def test_no_weights_says_where_they_come_from(tmp_path):
    with pytest.raises(ConfigError) as caught:
        BiSeNetParser(weights=None)
    for part in ("79999_iter.pth of zllrunning/face-parsing.PyTorch", "53,289,463 bytes", PUBLIC_SHA256,
                 "parser=bisenet parser.weights=<file>", "parser=none"):  # fmt: skip
        assert part in str(caught.value)
    with pytest.raises(DataError, match=r"no file .*nowhere\.pth \(parser\.weights\)"):
        BiSeNetParser(weights=str(tmp_path / "nowhere.pth"))


def test_other_weights_than_the_pinned_ones(parser, weights):
    found = file_sha256(Path(weights))
    with pytest.raises(DataError, match=rf"found: +{found}\n.*expected: {PUBLIC_SHA256}"):
        parser(sha256=PUBLIC_SHA256).parse(["a"], real_faces(1, 32))
    assert len(parser(sha256=found.upper()).parse(["a"], real_faces(1, 32))) == 1


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04 cut off", "code"])
def test_no_file_of_weights(parser, tmp_path, content):
    file = tmp_path / "weights.pth"
    if content == "code":
        torch.save({"weights": os.system}, file)
    else:
        file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"weights\.pth .*cannot be read"):
        parser(weights=str(file)).parse(["a"], real_faces(1, 32))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(3)], "holds no state dict"),
        ({"state_dict": {"conv.weight": torch.zeros(3)}}, "holds no state dict"),
        ({"conv.weight": torch.zeros(3)}, "another network than BiSeNet: 192 of 192 tensors"),
    ],
)
def test_weights_of_something_else(parser, tmp_path, content, message):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=message):
        parser(weights=str(tmp_path / "other.pth")).parse(["a"], real_faces(1, 32))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "half"}, "parser.precision=half: expected one of auto"),
        ({"input_px": 16}, "input_px=16"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"threads": 0}, "threads=0"),
    ],
)
def test_options_without_meaning(options, message):
    with pytest.raises(ConfigError, match=message):
        make({"_target_": "pkdn_lightning.faces.parser.BiSeNetParser", "weights": "any", **options}, "parser")


@pytest.mark.parametrize("device", ["cuda:99", "gpu"])
def test_device_that_is_not_there(parser, device):
    with pytest.raises(ConfigError, match=f"parser.device={device} cannot be used here"):
        parser(device=device).parse(["a"], real_faces(1, 32))


def test_weights_from_the_network(parser, weights, monkeypatch):
    asked = []

    def fetch(url, *, sha256=None):
        asked.append((url, sha256))
        return Path(weights)

    monkeypatch.setattr("pkdn_lightning.faces.parser.fetch", fetch)
    digest = file_sha256(Path(weights))
    made = parser(weights="https://example.org/bisenet.pth", sha256=digest)
    assert asked == []  # nothing is fetched before it is needed
    assert len(made.parse(["a"], real_faces(1, 32))) == 1
    assert asked == [("https://example.org/bisenet.pth", digest)]


# Sides


def drawn(*marks: tuple[str, int, int], size_px: int = 32) -> np.ndarray:
    """Returns a map of skin with a mark of 3x3 pixels around each given row and column."""
    labels = np.full((size_px, size_px), ID["skin"], np.uint8)
    for name, row, column in marks:
        labels[row - 1 : row + 2, column - 1 : column + 2] = ID[name]
    return labels


NOSE, MOUTH = ("nose", 16, 16), ("mouth", 24, 16)
UPRIGHT = drawn(
    NOSE, MOUTH, ("r_eye", 12, 8), ("l_eye", 12, 24), ("r_brow", 6, 8), ("l_brow", 6, 24), ("r_ear", 16, 2),
    ("l_ear", 16, 29),
)  # fmt: skip


def test_sides_that_are_right_stay():
    np.testing.assert_array_equal(repair_sides(UPRIGHT), UPRIGHT)


@pytest.mark.parametrize("part", ["eye", "brow", "ear"])
def test_swapped_sides_are_put_right(part):
    table = np.arange(len(LABELS), dtype=np.uint8)
    table[[ID[f"l_{part}"], ID[f"r_{part}"]]] = ID[f"r_{part}"], ID[f"l_{part}"]
    swapped = table[UPRIGHT]
    before = swapped.copy()
    np.testing.assert_array_equal(repair_sides(swapped), UPRIGHT)
    np.testing.assert_array_equal(swapped, before)  # the argument is left alone


def test_an_eye_of_two_labels_becomes_one():
    mixed = UPRIGHT.copy()
    mixed[12, 23:26] = ID["r_eye"]
    np.testing.assert_array_equal(repair_sides(mixed), UPRIGHT)


def test_one_eye():
    np.testing.assert_array_equal(
        repair_sides(drawn(NOSE, MOUTH, ("r_eye", 12, 24))), drawn(NOSE, MOUTH, ("l_eye", 12, 24))
    )


def test_profile_to_the_right():
    # The nose's tip lies beyond the far eye; its bridge does not.
    face = (("nose", 12, 24), ("nose", 16, 27), ("nose", 18, 28), MOUTH, ("mouth", 24, 26))
    wrong = drawn(*face, ("l_eye", 11, 20), ("r_eye", 11, 28), ("l_ear", 14, 4))
    right = drawn(*face, ("r_eye", 11, 20), ("l_eye", 11, 28), ("r_ear", 14, 4))
    np.testing.assert_array_equal(repair_sides(wrong), right)


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_turned_face(quarter_turns):
    turned = np.rot90(UPRIGHT, quarter_turns).copy()
    swapped = np.array(MIRRORED, np.uint8)[turned]
    np.testing.assert_array_equal(repair_sides(swapped), turned)


@pytest.mark.parametrize("seed", range(4))
def test_real_faces_and_their_mirror_images(seed):
    labels = real_face(seed, 128).parsing
    np.testing.assert_array_equal(repair_sides(labels), labels)
    np.testing.assert_array_equal(repair_sides(labels[:, ::-1]), np.array(MIRRORED, np.uint8)[labels[:, ::-1]])


def test_without_a_mouth_up_is_up():
    np.testing.assert_array_equal(repair_sides(drawn(NOSE, ("r_eye", 12, 24))), drawn(NOSE, ("l_eye", 12, 24)))


def test_without_a_nose_nothing_changes():
    for labels in (drawn(MOUTH, ("r_eye", 12, 24)), np.zeros((16, 16), np.uint8)):
        np.testing.assert_array_equal(repair_sides(labels), labels)


# Real faces


FACES = os.environ.get("PKDN_FACES")


def accuracy_and_mean_iou(truth: np.ndarray, found: np.ndarray) -> tuple[float, float]:
    """Returns pixel accuracy, and IoU averaged over the classes, from all faces together."""
    pairs = np.bincount((truth.astype(np.int64) * len(LABELS) + found).ravel(), minlength=len(LABELS) ** 2)
    confusion = pairs.reshape(len(LABELS), len(LABELS))
    hits = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - hits
    there = confusion.sum(1) > 0
    return hits.sum() / confusion.sum(), float((hits[there] / union[there]).mean())


@pytest.mark.slow
@pytest.mark.skipif(FACES is None, reason="PKDN_FACES names no folder of faces")
def test_public_weights_against_the_ground_truth():
    folder, weights = Path(FACES, "celebamask_hq", "val"), Path(FACES).parent / "weights" / "bisenet_79999_iter.pth"
    files = sorted((folder / "images").glob("*"))
    if len(files) != 99 or not weights.is_file():
        pytest.skip(f"{folder} holds {len(files)} faces (the expected values belong to 99), or there is no {weights}")
    faces = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    truth = np.stack([np.asarray(Image.open(folder / "parsing" / f"{file.stem}.png")) for file in files])
    found = np.stack(
        BiSeNetParser(weights=str(weights), repair_sides=False).parse([f"val/{file.stem}" for file in files], faces)
    )
    accuracy, mean_iou = accuracy_and_mean_iou(truth, found)
    assert accuracy > 0.949 - 0.005
    assert mean_iou > 0.686 - 0.005
    accuracy, mean_iou = accuracy_and_mean_iou(truth, np.stack([repair_sides(labels) for labels in found]))
    assert accuracy > 0.951 - 0.005
    assert mean_iou > 0.720 - 0.005
