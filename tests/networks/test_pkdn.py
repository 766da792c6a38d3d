"""Teacher and student: published sizes, options, shapes, features, errors, and whether they learn."""

import pytest
import torch

from pkdn_lightning.errors import ConfigError, ShapeError
from pkdn_lightning.networks.cost import count_macs, count_parameters
from pkdn_lightning.networks.pkdn import PKDNStudent, PKDNTeacher

LEVELS = ["down1", "down2", "down3", "down4", "bottleneck", "up1", "up2", "up3", "up4"]


@pytest.mark.parametrize(
    ("network", "options", "parameters"),
    [
        (PKDNStudent, {}, 5_203_995),
        (PKDNStudent, {"rcabs_per_level": 4}, 3_864_147),
        (PKDNStudent, {"rcabs_per_level": 2}, 2_524_299),
        (PKDNStudent, {"ffb": True}, 5_803_355),
        (PKDNTeacher, {}, 3_039_059),
        (PKDNTeacher, {"ffb": False}, 2_439_699),
        (PKDNTeacher, {"pfbs_per_level": 2}, 4_294_307),
        (PKDNTeacher, {"pfbs_per_level": 3}, 5_549_555),
        (PKDNTeacher, {"channel_attention": "cbam", "spatial_attention": "cbam"}, 2_876_834),
        (PKDNTeacher, {"parsing_channels": 19}, 3_122_003),
        (PKDNTeacher, {"parsing_channels": 1}, 3_028_691),
        (PKDNTeacher, {"pfb": False, "ffb": False}, 2_526_027),  # KDFSRNet's teacher
    ],
)
def test_size(network, options, parameters):
    assert count_parameters(network(**options)) == parameters


@pytest.mark.parametrize(
    ("network", "shapes", "giga"),
    [(PKDNStudent, [(1, 3, 16, 16)], 13.722), (PKDNTeacher, [(1, 3, 16, 16), (1, 3, 128, 128)], 8.602)],
    ids=["student", "teacher"],
)
def test_cost(network, shapes, giga):
    with torch.device("meta"):
        net, inputs = network(), map(torch.rand, shapes)
    assert count_macs(net, *inputs) / 1e9 == pytest.approx(giga, abs=0.002)  # the enlargement is counted too


@pytest.mark.parametrize(("scale", "lr_px"), [(4, 32), (8, 16), (16, 8), (8, 4)])
@pytest.mark.parametrize("ffb", [False, True])
def test_shapes_and_features(scale, lr_px, ffb):
    lr, size = torch.rand(2, 3, lr_px, 2 * lr_px), (lr_px * scale, 2 * lr_px * scale)
    student = PKDNStudent(scale=scale, width=4, rcabs_per_level=1, ffb=ffb)(lr)
    teacher = PKDNTeacher(scale=scale, width=4, ffb=ffb)(lr, torch.rand(2, 3, *size))
    assert student.sr.shape == teacher.sr.shape == (2, 3, *size)
    assert list(student.features) == list(teacher.features) == LEVELS
    for level in LEVELS:
        assert student.features[level].shape == teacher.features[level].shape
    sides = [student.features[level].shape[-2] for level in LEVELS]
    top = size[0]
    assert sides == [top // 2, top // 4, top // 8, top // 16, top // 16, top // 8, top // 4, top // 2, top]


@pytest.mark.parametrize(
    "options",
    [
        {"ffb": True, "ffb_first": True},
        {"ffb": True, "ffb_source": "stage"},
        {"ffb": True, "ffb_skip": False},
        {"global_residual": True},
        {"rcabs_per_level": [0, 1, 2, 1, 1, 1, 2, 1, 0]},
        {"levels": 2, "rcabs_per_level": [1, 1, 1, 1, 1]},
    ],
    ids=str,
)
def test_options_change_the_result(options):
    lr = torch.rand(1, 3, 16, 16)
    torch.manual_seed(0)
    plain = PKDNStudent(width=4, rcabs_per_level=1, ffb=options.get("ffb", False))
    torch.manual_seed(0)
    other = PKDNStudent(**{"width": 4, "rcabs_per_level": 1} | options)
    assert not torch.equal(plain(lr).sr, other(lr).sr)


def test_every_parameter_gets_a_gradient():
    for net, inputs in (
        (PKDNStudent(width=4, rcabs_per_level=1, ffb=True), (torch.rand(1, 3, 16, 16),)),
        (PKDNTeacher(width=4), (torch.rand(1, 3, 16, 16), torch.rand(1, 3, 128, 128))),
        (PKDNTeacher(width=4, pfb=False), (torch.rand(1, 3, 16, 16), torch.rand(1, 3, 128, 128))),
    ):
        net(*inputs).sr.sum().backward()
        assert [name for name, value in net.named_parameters() if value.grad is None] == []


def test_the_teacher_reads_the_map_in_both_forms():
    lr = torch.rand(1, 3, 16, 16)
    for pfb in (True, False):
        net = PKDNTeacher(width=4, pfb=pfb)
        assert not torch.equal(net(lr, torch.zeros(1, 3, 128, 128)).sr, net(lr, torch.ones(1, 3, 128, 128)).sr)


@pytest.mark.slow
def test_a_student_with_skips_learns_two_faces():
    torch.manual_seed(0)
    net = PKDNStudent(width=8, rcabs_per_level=1, ffb=True, global_residual=True)
    lr, hr = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 32, 32)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    losses = []
    for _ in range(60):
        loss = (net(lr).sr - hr).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.75 * losses[0]


class TestErrors:
    def test_sides_that_do_not_divide(self):
        with pytest.raises(ShapeError, match="24x24, but the sides have to be divisible by 16"):
            PKDNStudent(width=4, rcabs_per_level=1)(torch.rand(1, 3, 3, 3))

    def test_grey_input(self):
        with pytest.raises(ShapeError, match=r"\(B, 3, H, W\)"):
            PKDNStudent(width=4, rcabs_per_level=1)(torch.rand(1, 1, 16, 16))

    def test_map_of_another_encoding(self):
        with pytest.raises(ShapeError, match="onehot 19"):
            PKDNTeacher(width=4)(torch.rand(1, 3, 16, 16), torch.rand(1, 19, 128, 128))

    def test_depths_for_another_number_of_levels(self):
        with pytest.raises(ConfigError, match="has 3 numbers"):
            PKDNStudent(rcabs_per_level=[1, 2, 1])


def test_exports():
    net = PKDNStudent(width=4, rcabs_per_level=1).eval()
    lr = torch.rand(2, 3, 16, 16)
    program = torch.export.export(net, (lr,))
    torch.testing.assert_close(program.module()(lr).sr, net(lr).sr)
