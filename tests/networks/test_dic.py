"""DIC: published size, cost and weights, steps, heatmaps, errors, and whether it learns."""

import pytest
import torch
import torch.nn.functional as F

from pkdn_lightning.errors import ConfigError, ShapeError
from pkdn_lightning.networks.cost import count_macs, count_parameters
from pkdn_lightning.networks.dic import DIC, RGB_MEAN, merge_heatmaps, rename_published
from tests.networks.published import published_state

SMALL = {"steps": 3, "features": 4, "groups": 2, "fusion_blocks": 1, "hourglass_features": 8}


def test_size_and_cost():
    with torch.device("meta"):
        net, lr = DIC(), torch.rand(1, 3, 16, 16)
    assert count_parameters(net) == 21_803_849
    assert count_macs(net, lr) / 1e9 == pytest.approx(45.34, abs=0.005)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (8, 16)])
@pytest.mark.parametrize("keypoints", [68, 5])
def test_shapes(height, width, keypoints):
    output = DIC(**SMALL, keypoints=keypoints)(torch.rand(2, 3, height, width))
    assert output.sr.shape == (2, 3, 8 * height, 8 * width)
    assert {name: value.shape for name, value in output.features.items()} == {
        f"step{step}": (2, 4, 2 * height, 2 * width) for step in (1, 2, 3)
    }
    assert {name: value.shape for name, value in output.extras.items()} == {
        **{f"sr{step}": output.sr.shape for step in (1, 2)},
        **{f"heatmaps{step}": (2, keypoints, 2 * height, 2 * width) for step in (1, 2, 3)},
    }


def test_without_a_learned_part_it_enlarges_bilinearly():
    net = DIC(**SMALL)
    torch.nn.init.zeros_(net.tail[2].weight)
    lr = torch.rand(1, 3, 8, 8)
    output = net(lr)
    enlarged = F.interpolate(lr, scale_factor=8, mode="bilinear")
    for sr in (output.sr, output.extras["sr1"], output.extras["sr2"]):
        torch.testing.assert_close(sr, enlarged)


def test_works_without_the_mean_colour():
    net = DIC(**SMALL).eval()
    seen = []
    net.head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    net(torch.tensor(RGB_MEAN).view(1, 3, 1, 1).expand(1, 3, 8, 8))
    assert seen[0].abs().max() == 0
    assert "mean" not in net.state_dict()


def test_untrained_heatmaps_stay_small():
    torch.manual_seed(0)
    output = DIC(features=4, groups=1, fusion_blocks=1, hourglass_features=64)(torch.rand(1, 3, 8, 8))
    assert output.extras["heatmaps4"].abs().max() < 100  # with Kaiming's distribution in the hourglass: millions


class TestMergedHeatmaps:
    def test_landmarks_are_summed_by_component_after_scaling(self):
        heatmaps = torch.zeros(1, 68, 2, 4)
        heatmaps[0, :, 0, 0] = 0.5  # every peak becomes 1
        components = merge_heatmaps(heatmaps)
        assert components.shape == (1, 5, 2, 4)
        assert components[0, :, 0, 0].tolist() == [6, 6, 9, 20, 27]  # eyes, nose, mouth, silhouette
        assert components.sum() == 68

    def test_which_landmarks_make_which_component(self):
        for landmark, component in ((36, 0), (41, 0), (42, 1), (47, 1), (27, 2), (35, 2), (48, 3), (67, 3), (26, 4)):
            heatmaps = torch.zeros(1, 68, 2, 2)
            heatmaps[0, landmark] = 1
            assert merge_heatmaps(heatmaps).amax((-2, -1))[0].nonzero().item() == component

    def test_components_are_only_scaled_and_faint_ones_not_blown_up(self):
        heatmaps = torch.zeros(1, 5, 2, 2)
        heatmaps[0, :, 0, 0] = torch.tensor([0.01, 0.05, 0.5, 1.0, -1.0])
        expected = torch.tensor([0.2, 1.0, 1.0, 1.0, -20.0])
        torch.testing.assert_close(merge_heatmaps(heatmaps)[0, :, 0, 0], expected)


def test_every_parameter_gets_a_gradient():
    net = DIC(**SMALL)
    output = net(torch.rand(1, 3, 8, 8))
    (output.sr.sum() + output.extras["heatmaps3"].sum()).backward()
    assert [name for name, value in net.named_parameters() if value.grad is None] == []


def test_the_restored_face_teaches_the_hourglass():
    net = DIC(**SMALL)
    net(torch.rand(1, 3, 8, 8)).sr.square().sum().backward()
    assert net.hourglass.stem[0].weight.grad.abs().sum() > 0


def test_learns_two_faces_and_their_heatmaps():
    torch.manual_seed(0)
    net = DIC(**SMALL | {"steps": 2, "groups": 1})
    lr, hr, target = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 64, 64), torch.rand(2, 68, 16, 16)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        output = net(lr)
        loss = sum((sr - hr).abs().mean() for sr in (output.sr, output.extras["sr1"]))
        loss = loss + sum((output.extras[f"heatmaps{step}"] - target).square().mean() for step in (1, 2))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 4}, "scale=8 only, found scale=4"),
        ({"steps": 1}, "2 or more, found 1"),
        ({"keypoints": 194}, r"68 \(landmarks\) or 5 \(components\), found 194"),
        ({"hourglass_features": 6}, "hourglass_features=6 a multiple of 4"),
        ({"groups": 0}, "groups=0"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ConfigError, match=message):
        DIC(**options)


def test_sides_that_do_not_divide():
    with pytest.raises(ShapeError, match="96x96, but the sides have to be divisible by 64"):
        DIC(**SMALL)(torch.rand(1, 3, 12, 12))


class TestPublishedWeights:
    @pytest.mark.parametrize("prefix", ["", "model.module."])
    def test_every_tensor_lands_in_its_place(self, prefix):
        state = published_state()
        renamed = rename_published({prefix + name: value for name, value in state.items()})
        assert len(renamed) == len(state) == 296
        net = DIC()
        net.load_state_dict(renamed, assign=True)  # strict: all names, all shapes
        ours = {int(value.flatten()[0]): name for name, value in net.state_dict().items()}
        places = {name: ours[number] for number, name in enumerate(state)}
        expected = {
            "conv_in.0": "head.0",
            "conv_in.1": "head.1",
            "first_block.compress_in.0": "first_compress.0",
            "first_block.upBlocks.5.0": "first_block.ups.5.0",
            "first_block.downBlocks.0.1": "first_block.downs.0.1",
            "first_block.uptranBlocks.0.0": "first_block.up_merges.0.0",
            "first_block.downtranBlocks.4.0": "first_block.down_merges.4.0",
            "first_block.compress_out.0": "first_block.compress.0",
            "block.compress_in.1": "compress.1",
            "block.upBlocks.0.0": "block.ups.0.0",
            "block.downBlocks.5.0": "block.downs.5.0",
            "block.uptranBlocks.4.1": "block.up_merges.4.1",
            "block.downtranBlocks.0.0": "block.down_merges.0.0",
            "block.compress_out.0": "block.compress.0",
            "block.fusion_block.conv_in.0": "fusion.expand",
            "block.fusion_block.resnet.6.res.0": "fusion.blocks.6.conv_in",
            "block.fusion_block.resnet.0.res.2": "fusion.blocks.0.conv_out",
            "out.0": "tail.0",
            "out.1": "tail.1",
            "conv_out.0": "tail.2",
            "HG.pre_conv_block.0": "hourglass.stem.0",
            "HG.pre_conv_block.2.conv_block.0": "hourglass.stem.2.reduce",
            "HG.pre_conv_block.2.skip_layer": "hourglass.stem.2.skip",
            "HG.pre_conv_block.4.conv_block.2": "hourglass.stem.4.conv",
            "HG.pre_conv_block.5.conv_block.3": "hourglass.stem.5.expand",
            "HG.compress_in": "hourglass.compress",
            "HG.hg.res4_1.conv_block.0": "hourglass.levels.skip.reduce",
            "HG.hg.res4_2.conv_block.0": "hourglass.levels.down.1.reduce",
            "HG.hg.res4_3.conv_block.0": "hourglass.levels.up.0.reduce",
            "HG.hg.res3_3.conv_block.2": "hourglass.levels.inner.up.0.conv",
            "HG.hg.res2_2.conv_block.3": "hourglass.levels.inner.inner.down.1.expand",
            "HG.hg.res1_1.conv_block.0": "hourglass.levels.inner.inner.inner.skip.reduce",
            "HG.hg.res_center.conv_block.2": "hourglass.levels.inner.inner.inner.inner.conv",
            "HG.hg_conv_out.0.conv_block.3": "hourglass.predict.0.expand",
            "HG.hg_conv_out.1.conv_block.0": "hourglass.predict.1",
            "HG.hg_conv_out.2": "hourglass.predict.3",
        }
        assert {name: places[f"{name}.weight"] for name in expected} == {
            name: f"{place}.weight" for name, place in expected.items()
        }
        assert all(name.rpartition(".")[2] == place.rpartition(".")[2] for name, place in places.items())

    def test_another_method_is_not_taken(self):
        assert rename_published({"features.0.weight": torch.zeros(1)}) is None
        state = published_state()
        assert rename_published({**state, "fc.weight": torch.zeros(1)}) is None
        state.pop("conv_in.0.bias")
        assert rename_published(state) is None
