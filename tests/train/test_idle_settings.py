"""What was typed without effect is said, with the reason."""

import pytest

from pkdn_lightning.config import compose
from pkdn_lightning.train.idle_settings import idle_settings

STUDENT, BLIND = ["objective=reconstruction"], ["objective=reconstruction", "degradation=blind"]


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ([*STUDENT, "teacher.cache=true"], "teacher.cache=true has no effect: the objective has no teacher."),
        (
            [*STUDENT, "data.blind.motion=0"],
            "data.blind.motion=0 has no effect: it is for degradation=blind and blind2.",
        ),
        (
            [*STUDENT, "data.parsing_dropout=0.5"],
            "data.parsing_dropout=0.5 has no effect: no network reads parsing maps.",
        ),
        ([*STUDENT, "module.gate=true"], "module.gate=true has no effect: there is no discriminator."),
        ([*BLIND, "data.blind.motion=0"], None),
        ([*STUDENT, "teacher=none", "data.batch_size=4"], None),
    ],
)
def test_a_student_without_a_teacher(typed, told):
    assert idle_settings(compose("train", typed), typed, taught=False, reads_maps=False) == told


def test_a_named_teacher_is_trained_already():
    typed = ["teacher.checkpoint=a", "teacher.model.pfb=false", "data.parsing_dropout=0.5", "teacher.cache=true"]
    told = idle_settings(compose("train", typed), typed, taught=True, reads_maps=True)
    assert told.splitlines() == [
        "teacher.model.pfb=false has no effect: a is trained already.",
        "data.parsing_dropout=0.5 has no effect: a is trained already.",
    ]


def test_a_taught_student_reads_the_settings_of_its_teacher():
    typed = ["teacher.cache=true", "data.parsing_dropout=0.5"]
    assert idle_settings(compose("train", typed), typed, taught=True, reads_maps=True) is None
