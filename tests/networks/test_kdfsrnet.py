"""KDFSRNet's teacher and student: published sizes and costs, shapes, gradients, and the public code's weights."""

import pytest
import torch

from pkdn_lightning.errors import ConfigError, ShapeError
from pkdn_lightning.functional.resize import bicubic
from pkdn_lightning.networks.cost import count_macs, count_parameters
from pkdn_lightning.networks.kdfsrnet import KDFSRNetStudent, KDFSRNetTeacher, rename_published
from pkdn_lightning.networks.pkdn import PKDNStudent, PKDNTeacher
from tests.networks.conftest import learns_two_faces, without_gradient
from tests.networks.published import Published, published_kdfsrnet

LEVELS = ["down1", "down2", "down3", "down4", "bottleneck", "up1", "up2", "up3", "up4"]
SMALL = {"width": 16, "rcabs_per_level": 1}


def with_unused_shifts(state):
    return state | {f"{name}_mean.{kind}": torch.zeros(3) for name in ("sub", "add") for kind in ("weight", "bias")}


def test_sizes_and_costs():
    with torch.device("meta"):
        student, teacher = KDFSRNetStudent(), KDFSRNetTeacher()
        lr, parsing = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 128, 128)
        assert count_parameters(student) == 5_203_995
        assert count_parameters(teacher) == 2_526_027
        assert count_macs(student, lr) / 1e9 == pytest.approx(13.722, abs=0.002)  # the enlargement is counted too
        assert count_macs(teacher, lr, parsing) / 1e9 == pytest.approx(5.7095, abs=0.002)


def test_they_are_what_pkdn_calls_them():
    with torch.device("meta"):
        assert KDFSRNetStudent().state_dict().keys() == PKDNStudent().state_dict().keys()
        assert KDFSRNetTeacher().state_dict().keys() == PKDNTeacher(pfb=False, ffb=False).state_dict().keys()
    assert KDFSRNetTeacher.uses_parsing
    assert not KDFSRNetStudent.uses_parsing


@pytest.mark.parametrize(("scale", "height", "width"), [(8, 16, 16), (8, 4, 6), (4, 8, 8)])
def test_shapes_and_features(scale, height, width):
    lr, parsing = torch.rand(2, 3, height, width), torch.rand(2, 3, scale * height, scale * width)
    student, teacher = KDFSRNetStudent(scale=scale, **SMALL)(lr), KDFSRNetTeacher(scale=scale, **SMALL)(lr, parsing)
    assert student.sr.shape == teacher.sr.shape == parsing.shape
    assert list(student.features) == list(teacher.features) == LEVELS
    for level in LEVELS:
        assert student.features[level].shape == teacher.features[level].shape
    assert student.features["bottleneck"].shape == (2, 16, scale * height // 16, scale * width // 16)


def test_every_parameter_gets_a_gradient():
    lr, parsing = torch.rand(1, 3, 8, 8), torch.rand(1, 19, 64, 64)
    assert without_gradient(KDFSRNetStudent(**SMALL), lr) == []
    assert without_gradient(KDFSRNetTeacher(parsing_channels=19, **SMALL), lr, parsing) == []


def test_the_student_learns_two_faces():
    torch.manual_seed(0)
    losses = learns_two_faces(KDFSRNetStudent(**SMALL), rate=5e-3)
    assert losses[-1] < 0.9 * losses[0]


class TestErrors:
    def test_sides_that_do_not_divide(self):
        with pytest.raises(ShapeError, match="24x24, but the sides have to be divisible by 16"):
            KDFSRNetStudent(**SMALL)(torch.rand(1, 3, 3, 3))

    def test_map_of_another_encoding(self):
        with pytest.raises(ShapeError, match="onehot 19"):
            KDFSRNetTeacher(**SMALL)(torch.rand(1, 3, 16, 16), torch.rand(1, 19, 128, 128))

    def test_no_levels(self):
        with pytest.raises(ConfigError, match="levels=0"):
            KDFSRNetStudent(levels=0)


class TestPublishedWeights:
    @pytest.mark.parametrize(("down", "up"), [("1", "0"), ("conv", "conv")])
    def test_they_restore_the_same_faces(self, down, up):
        torch.manual_seed(0)
        lr, parsing = torch.rand(2, 3, 4, 4).double(), torch.rand(2, 3, 32, 32).double()
        enlarged = bicubic(lr, (32, 32))
        student, teacher = KDFSRNetStudent(**SMALL).double(), KDFSRNetTeacher(**SMALL).double()
        state = Published()
        expected = published_kdfsrnet(state, enlarged, **SMALL, down=down, up=up)
        student.load_state_dict(rename_published(with_unused_shifts(state)))
        torch.testing.assert_close(student(lr).sr, expected, rtol=1e-9, atol=1e-9)
        state = Published()
        expected = published_kdfsrnet(state, torch.cat([enlarged, parsing], dim=1), **SMALL, down=down, up=up)
        teacher.load_state_dict(rename_published(state))
        torch.testing.assert_close(teacher(lr, parsing).sr, expected, rtol=1e-9, atol=1e-9)

    def test_all_of_them_fit(self):
        for network, channels, rcabs in ((KDFSRNetStudent, 3, 6), (KDFSRNetTeacher, 6, 2)):
            state = Published()
            published_kdfsrnet(state, torch.rand(1, channels, 16, 16), width=64, rcabs_per_level=rcabs)
            assert len(state) == 2 * (9 * rcabs * 4 + 8 + 2)
            network().load_state_dict(rename_published({f"module.{name}": tensor for name, tensor in state.items()}))

    def test_others_are_refused(self):
        state = Published()
        published_kdfsrnet(state, torch.rand(1, 3, 16, 16), **SMALL)
        assert rename_published({}) is None
        assert rename_published(state | {"refine2.0.conv.0.body.0.weight": torch.zeros(1)}) is None
