"""The training schemes on their own: what is optimised, what is asked of the teacher, and when."""

from functools import partial

import pytest
import torch

from pkdn_lightning.errors import ConfigError
from pkdn_lightning.losses import FeatureDistillation, Objective, Reconstruction, TeacherImage, Weight
from pkdn_lightning.modules import FrozenTeacher, StudentModule, TeacherModule
from pkdn_lightning.networks.pkdn import PKDNStudent, PKDNTeacher

ADAM = partial(torch.optim.Adam, lr=1e-3)
BATCH = {
    "lr": torch.rand(2, 3, 8, 8),
    "hr": torch.rand(2, 3, 32, 32),
    "parsing": torch.rand(2, 3, 32, 32),
    "row": torch.arange(2),
}


def student_net():
    return PKDNStudent(scale=4, width=4, levels=2, rcabs_per_level=1)


def teacher_net():
    return PKDNTeacher(scale=4, width=4, levels=2)


def distillation():
    return Objective(
        {
            "sr": (Weight(1.0), Reconstruction()),
            "ts": (Weight(0.1), TeacherImage()),
            "fs": (Weight(10.0), FeatureDistillation()),
        }
    )


def test_the_frozen_teacher_is_asked_and_never_owned():
    teacher = FrozenTeacher(teacher_net())
    module = StudentModule(student_net(), distillation(), ADAM, teacher=teacher)
    module.train()
    assert not teacher.net.training
    assert {name.split(".")[0] for name in module.state_dict()} == {"net"}
    owned = {id(parameter) for parameter in module.parameters()}
    assert not owned & {id(parameter) for parameter in teacher.net.parameters()}
    teacher_output = module.teacher_output(BATCH)
    assert not teacher_output.sr.requires_grad
    assert not any(feature.requires_grad for feature in teacher_output.features.values())


def test_a_teacher_that_no_term_reads_is_let_go():
    objective = Objective({"sr": (Weight(1.0), Reconstruction()), "ts": (Weight(0.0), TeacherImage())})
    module = StudentModule(student_net(), objective, ADAM, teacher=FrozenTeacher(teacher_net()))
    assert module.teacher is None
    assert not module.needs_parsing


def test_what_needs_parsing():
    assert TeacherModule(teacher_net(), Objective({"sr": (Weight(1.0), Reconstruction())}), ADAM).needs_parsing
    assert StudentModule(student_net(), distillation(), ADAM, teacher=FrozenTeacher(teacher_net())).needs_parsing


def test_channels_last_changes_nothing_but_the_layout():
    net = student_net()
    expected = net(BATCH["lr"]).sr
    module = StudentModule(net, Objective({"sr": (Weight(1.0), Reconstruction())}), ADAM, channels_last=True)
    assert module.net.head.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(module(BATCH), expected)


@pytest.mark.parametrize(
    ("scheme", "net", "message"),
    [
        (TeacherModule, student_net(), "module=teacher trains networks that read parsing maps"),
        (StudentModule, teacher_net(), "module=student trains networks that read only the LR face"),
    ],
)
def test_a_scheme_refuses_the_wrong_kind_of_network(scheme, net, message):
    with pytest.raises(ConfigError, match=message):
        scheme(net, Objective({"sr": (Weight(1.0), Reconstruction())}), ADAM)


def test_distillation_without_a_teacher():
    with pytest.raises(ConfigError, match=r"teacher\.checkpoint"):
        StudentModule(student_net(), distillation(), ADAM)
