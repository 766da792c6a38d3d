"""FishFSRNet: published sizes and cost, shapes, its blocks, published names, whether it learns, export, errors."""

import math
import shlex
import subprocess
import sys

import pytest
import torch

from pkdn_lightning.errors import CheckpointError, ConfigError, ShapeError
from pkdn_lightning.models.checkpoints import load_model
from pkdn_lightning.networks.cost import count_macs, count_parameters
from pkdn_lightning.networks.fishfsrnet import MSRB, PAFB, FishFSRNet, ParsingNet, rename_published

AS_BUILT = 8_423_683  # the public code's, without ParsingNet, with three 1x1 convolutions that it never uses
NEVER_USED = 3 * (128 * 64 + 64)
PARSING_NET = 594_371


@pytest.fixture(scope="module")
def unfilled() -> FishFSRNet:
    with torch.device("meta"):
        return FishFSRNet()


def small(**options) -> FishFSRNet:
    torch.manual_seed(0)
    return FishFSRNet(**({"width": 4, "pafbs": 1} | options))


def test_size(unfilled):
    assert count_parameters(unfilled.parsing_net) == count_parameters(ParsingNet()) == PARSING_NET
    assert count_parameters(unfilled) == 8_993_286 == AS_BUILT - NEVER_USED + PARSING_NET
    # The code's last stage holds two fusion blocks, too, and runs the first twice.
    assert len(unfilled.pafbs["up6"]) == 2
    with torch.device("meta"):
        assert count_parameters(unfilled) - count_parameters(FishFSRNet(pafbs=1)) == 9 * count_parameters(PAFB(64))


def test_cost(unfilled):
    giga = count_macs(unfilled, torch.rand(1, 3, 16, 16, device="meta")) / 1e9
    assert giga == pytest.approx(36.284 + 0.152, abs=0.001)


@pytest.mark.parametrize(("scale", "height", "width"), [(8, 3, 5), (8, 1, 1), (4, 5, 3), (2, 4, 4)])
def test_shapes_and_features(scale, height, width):
    output = small(scale=scale)(torch.rand(2, 3, height, width))
    levels = int(math.log2(scale))
    assert output.sr.shape == (2, 3, height * scale, width * scale)
    assert list(output.extras) == ["parsing"]
    assert output.extras["parsing"].shape == (2, 3, height, width)
    enlarged = {f"up{level}": 2**level for level in range(1, levels + 1)}
    enlarged |= {f"down{level}": 2 ** (levels - level) for level in range(1, levels + 1)}
    enlarged |= {"bottleneck": 1}
    enlarged |= {f"up{levels + level}": 2**level for level in range(1, levels + 1)}
    assert list(output.features) == list(enlarged)
    for name, times in enlarged.items():
        assert output.features[name].shape == (2, 4, height * times, width * times)


def test_every_parameter_gets_a_gradient():
    net = small(pafbs=2)
    net(torch.rand(1, 3, 4, 4)).sr.sum().backward()  # of the restored face alone, ParsingNet included
    assert [name for name, value in net.named_parameters() if value.grad is None] == []


def test_a_loss_of_the_map_reaches_parsing_net_alone():
    net = small()
    net(torch.rand(1, 3, 4, 4)).extras["parsing"].sum().backward()
    reached = {name.partition(".")[0] for name, value in net.named_parameters() if value.grad is not None}
    assert reached == {"parsing_net"}


def test_every_stage_looks_at_the_map():
    net, lr = small(), torch.rand(1, 3, 4, 4)
    before = net(lr)
    torch.nn.init.ones_(net.parsing_net.tail.bias)
    after = net(lr)
    for name, feature in before.features.items():
        assert not torch.equal(feature, after.features[name])
    for stage, pafbs in net.pafbs.items():
        x = torch.rand(1, 4, 8, 8)
        assert not torch.equal(pafbs(x, torch.zeros(1, 3, 4, 4)), pafbs(x, torch.ones(1, 3, 4, 4))), stage


@pytest.mark.parametrize("position", [0, 1, 2])
def test_the_refine_block_brings_each_size_to_the_features(position):
    torch.manual_seed(0)
    block = MSRB(8, sizes=3, position=position)
    retained = [torch.rand(1, 8, side, side, requires_grad=True) for side in (4, 8, 16)]
    x = torch.rand(1, 8, *retained[position].shape[-2:])
    fused = block(x, retained)
    assert fused.shape == x.shape
    fused.sum().backward()
    assert all(feature.grad.any() for feature in retained)
    strided = [sum(isinstance(layer, torch.nn.Conv2d) for layer in resize.modules()) for resize in block.resize]
    assert strided == [max(0, index - position) for index in range(3)]


def test_runs_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = small()(torch.rand(1, 3, 4, 4).contiguous(memory_format=torch.channels_last))
    assert output.sr.isfinite().all()


def test_learns_two_faces():
    net = small(width=8, scale=4)
    lr, hr, parsing = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 16, 16), torch.rand(2, 3, 4, 4)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(10):
        output = net(lr)
        loss = (output.sr - hr).abs().mean() + (output.extras["parsing"] - parsing).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


class TestErrors:
    def test_grey_input(self):
        with pytest.raises(ShapeError, match=r"\(B, 3, H, W\)"):
            small()(torch.rand(1, 1, 16, 16))

    @pytest.mark.parametrize("options", [{"scale": 6}, {"scale": 1}, {"width": 0}, {"pafbs": 0}], ids=str)
    def test_numbers_that_make_no_network(self, options):
        with pytest.raises(ConfigError, match="power of 2"):
            small(**options)


Shapes = dict[str, tuple[int, ...]]


def conv(name: str, inputs: int, outputs: int, kernel: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs, kernel, kernel), f"{name}.bias": (outputs,)}


def residual(name: str) -> Shapes:
    return conv(f"{name}.body.0", 64, 64, 3) | conv(f"{name}.body.2", 64, 64, 3)


def gate(name: str) -> Shapes:
    first = {f"{name}.mlp.1.weight": (16, 64), f"{name}.mlp.1.bias": (16,)}
    return first | {f"{name}.mlp.3.weight": (64, 16), f"{name}.mlp.3.bias": (64,)}


def attention_block(name: str) -> Shapes:
    shapes = residual(name) | gate(f"{name}.attention_layer2") | conv(f"{name}.conv", 128, 64, 1)
    shapes |= conv(f"{name}.attention_layer1.spatial_layer1", 64, 128, 1)
    shapes |= conv(f"{name}.attention_layer1.spatial_layer3", 128, 64, 1)
    shapes |= conv(f"{name}.conv_feature.0", 64, 64, 3) | conv(f"{name}.conv_parsing.0", 3, 64, 3)
    return shapes | conv(f"{name}.conv_fusion", 128, 64, 3) | conv(f"{name}.attention_fusion", 128, 64, 1)


def refine_block(name: str, scale: int) -> Shapes:
    shapes = gate(f"{name}.attention") | conv(f"{name}.conv", 192, 64, 1)
    for part in ("refine2", "refine4", "refine8"):
        shapes |= residual(f"{name}.{part}.conv.0") | residual(f"{name}.{part}.conv.1")
    if scale < 8:
        shapes |= conv(f"{name}.down1", 64, 64, 3)
    if scale < 4:
        shapes |= conv(f"{name}.down2.0", 64, 64, 3) | conv(f"{name}.down2.2", 64, 64, 3)
    return shapes


def published_main(enlarging: str) -> Shapes:
    """Names and shapes of the restoring network; `enlarging` is where an up block's convolution is."""
    shapes = conv("head.0", 3, 64, 3) | conv("conv", 64, 64, 3) | conv("tail.0", 64, 3, 3)
    for number in (1, 2, 3):
        shapes |= conv(f"conv_tail{number}", 128, 64, 1) | conv(f"down{number}.1", 256, 64, 3)
        shapes |= conv(f"up{number}.{enlarging}", 64, 256, 3) | conv(f"up2{number}.{enlarging}", 64, 256, 3)
        for stage in (f"up_stage{number}", f"down_stage{number}", f"up2_stage{number}"):
            shapes |= attention_block(f"{stage}.0") | attention_block(f"{stage}.1")
    for index, scale in enumerate((8, 4, 2, 2, 4, 8)):
        shapes |= refine_block(f"refine2.{index}", scale)
    return shapes


def published_parsing_net() -> Shapes:
    shapes = conv("head.0", 3, 64, 3) | conv("feature.0", 64, 3, 3)
    for index in range(8):
        shapes |= residual(f"body.{index}")
    return shapes


@pytest.fixture(params=["0", "0.0"], scope="module")
def enlarging(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def state(enlarging) -> dict[str, torch.Tensor]:
    """Both state dicts, merged as the code's first version has them; each tensor is filled with its own number."""
    main, parsing = published_main(enlarging), published_parsing_net()
    assert sum(math.prod(shape) for shape in main.values()) == AS_BUILT
    assert sum(math.prod(shape) for shape in parsing.values()) == PARSING_NET
    shapes = {f"sr.{name}": shape for name, shape in main.items()}
    shapes |= {f"parsing.{name}": shape for name, shape in parsing.items()}
    return {name: torch.tensor(float(number)).expand(shape) for number, (name, shape) in enumerate(shapes.items())}


class TestPublishedNames:
    # One of each kind: the public name, and where its tensor belongs.
    PLACES = {
        "sr.head.0.weight": "head.weight",
        "sr.conv.bias": "bottleneck.bias",
        "sr.tail.0.bias": "tail.bias",
        "sr.down2.1.weight": "resample.down2.conv.weight",
        "sr.up_stage1.0.body.0.weight": "pafbs.up1.0.refine_in.weight",
        "sr.up_stage3.1.body.2.bias": "pafbs.up3.1.refine_out.bias",
        "sr.down_stage1.0.conv.weight": "pafbs.down1.0.fuse_attention.weight",
        "sr.down_stage2.1.conv_feature.0.weight": "pafbs.down2.1.project_feature.weight",
        "sr.down_stage3.0.conv_parsing.0.weight": "pafbs.down3.0.project_parsing.weight",
        "sr.up2_stage1.1.conv_fusion.weight": "pafbs.up4.1.fuse_parsing.weight",
        "sr.up2_stage2.0.attention_fusion.weight": "pafbs.up5.0.fuse.weight",
        "sr.up2_stage2.1.attention_layer1.spatial_layer1.weight": "pafbs.up5.1.spatial_attention.expand.weight",
        "sr.up2_stage2.1.attention_layer1.spatial_layer3.weight": "pafbs.up5.1.spatial_attention.project.weight",
        "sr.up_stage2.0.attention_layer2.mlp.1.weight": "pafbs.up2.0.channel_attention.squeeze.weight",
        "sr.up_stage2.0.attention_layer2.mlp.3.bias": "pafbs.up2.0.channel_attention.excite.bias",
        "sr.refine2.0.attention.mlp.3.weight": "refine.up3.attention.excite.weight",
        "sr.refine2.1.down1.weight": "refine.down1.resize.2.0.weight",
        "sr.refine2.2.down1.weight": "refine.down2.resize.1.0.weight",
        "sr.refine2.3.down2.2.bias": "refine.down3.resize.2.2.bias",
        "sr.refine2.4.conv.weight": "refine.up4.fuse.weight",
        "sr.refine2.5.refine2.conv.0.body.0.weight": "refine.up5.project.0.0.conv_in.weight",
        "sr.refine2.5.refine8.conv.1.body.2.weight": "refine.up5.project.2.1.conv_out.weight",
        "parsing.head.0.weight": "parsing_net.head.weight",
        "parsing.body.7.body.0.weight": "parsing_net.body.7.conv_in.weight",
        "parsing.feature.0.bias": "parsing_net.tail.bias",
    }

    def test_every_tensor_finds_its_place(self, state, unfilled, enlarging):
        renamed = rename_published({f"module.{name}": value for name, value in state.items()})
        expected = {name: value.shape for name, value in unfilled.state_dict().items()}
        assert {name: value.shape for name, value in renamed.items()} == expected
        places = self.PLACES | {f"sr.up21.{enlarging}.weight": "resample.up4.conv.weight"}
        for public, name in places.items():
            assert renamed[name].flatten()[0] == state[public].flatten()[0]
        values = [value.flatten()[0].item() for value in renamed.values()]
        assert len(values) - len(set(values)) == 22  # the tensors of the one block that is there twice

    def test_the_block_that_is_trained_to_run_twice_is_there_twice(self, state):
        renamed = rename_published(state)
        for name, value in renamed.items():
            if name.startswith("pafbs.up6.0."):
                assert torch.equal(renamed[name.replace("up6.0", "up6.1")], value)
        trained = state["sr.up2_stage3.0.conv_fusion.weight"]
        assert torch.equal(renamed["pafbs.up6.0.fuse_parsing.weight"], trained)

    def test_the_restoring_network_alone(self, state, unfilled):
        alone = {name.removeprefix("sr."): value for name, value in state.items() if name.startswith("sr.")}
        renamed = rename_published(alone)
        missing = unfilled.state_dict().keys() - renamed.keys()
        assert {name.partition(".")[0] for name in missing} == {"parsing_net"}
        assert len(missing) == 36
        parsing = {name: value for name, value in state.items() if name.startswith("parsing.")}
        assert rename_published(parsing).keys() == missing
        assert rename_published({name: parsing[name] for name in parsing if "body.3" not in name}) is None

    def test_two_files_are_one_network_and_each_alone_says_how_to_join_them(self, state, tmp_path):
        parts = {
            part: {f"module.{name.removeprefix(f'{part}.')}": state[name] for name in state if name.startswith(part)}
            for part in ("sr", "parsing")
        }
        files = {"sr": tmp_path / "FISHNET.pth", "parsing": tmp_path / "ParsingNet.pth"}
        for part, file in files.items():
            torch.save(parts[part], file)
            with pytest.raises(CheckpointError, match=r"holds FishFSRNet's") as caught:
                load_model(file)
        command = shlex.split(str(caught.value).splitlines()[-1])
        subprocess.run([sys.executable, *command[1:]], cwd=tmp_path, check=True)
        net = load_model(tmp_path / "fishfsrnet.pth")
        renamed = rename_published(state)
        assert all(torch.equal(value, renamed[name]) for name, value in net.state_dict().items())

    def test_what_the_first_version_held_besides_is_dropped(self, state):
        besides = {"sr.sub_mean.weight": torch.zeros(3, 3, 1, 1), "sr.add_mean.bias": torch.zeros(3)}
        assert rename_published(state | besides).keys() == rename_published(state).keys()

    def test_of_another_network_or_not_whole(self, state):
        assert rename_published({}) is None
        assert rename_published({"head.0.weight": torch.zeros(64, 3, 3, 3)}) is None
        assert rename_published({name: value for name, value in state.items() if "refine2.4." not in name}) is None
        assert rename_published(state | {"more.weight": torch.zeros(1)}) is None
