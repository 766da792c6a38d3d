"""What was typed without effect is said, with the reason."""

import pytest
from omegaconf import OmegaConf

from pkdn_lightning.config import compose
from pkdn_lightning.config.idle_keys import idle_keys
from pkdn_lightning.train.idle_settings import idle_settings


@pytest.fixture(scope="module")
def composed():
    return OmegaConf.to_container(compose("train"), resolve=True)


@pytest.fixture
def told(composed):
    """Returns what is said of typed settings."""

    def of(typed, also=(), **known):
        given = [each.lstrip("+") for each in (*typed, *also) if "." in each]
        config = OmegaConf.merge(composed, OmegaConf.from_dotlist(given))
        return idle_settings(config, typed, idle_keys(config, **known))

    return of


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["teacher.cache=true"], "teacher.cache=true has no effect: the objective has no teacher."),
        (["data.blind.motion=0"], "data.blind.motion=0 has no effect: it is for degradation=blind and blind2."),
        (["data.parsing_dropout=0.5"], "data.parsing_dropout=0.5 has no effect: no network reads parsing maps."),
        (["module.gate=true"], "module.gate=true has no effect: there is no discriminator."),
        (["data.degradation=blind", "data.blind.motion=0"], None),
        (["experiment=demo", "data.batch_size=4"], None),
    ],
)
def test_a_student_without_a_teacher(told, typed, expected):
    assert told(typed, taught=False, reads_maps=False, teacher_reads_maps=False, priors=()) == expected


def test_a_named_teacher_is_trained_already(told):
    typed = ["teacher.checkpoint=a", "teacher.model.pfb=false", "data.parsing_dropout=0.5", "teacher.cache=true"]
    assert told(typed, reads_maps=False).splitlines() == [
        "teacher.model.pfb=false has no effect: a is trained already.",
        "data.parsing_dropout=0.5 has no effect: a is trained already.",
    ]
    assert told(["teacher.checkpoint=a", "data.parsing_dropout=0.5"], reads_maps=True) is None


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["data.parsing_damage_px=16"], "it is for data.parsing_damage=displaced and blurred"),
        (["data.parsing_damage=empty", "data.parsing_damage_px=16"], "it is for data.parsing_damage=displaced and"),
        (["data.heatmap_px=64"], "no term of the objective reads heatmaps"),
        (["data.heatmaps=components"], "no term of the objective reads heatmaps"),
        (["objective.sr.duration=3"], "objective.sr.schedule=constant"),
        (["objective.sr.unit=step"], "objective.sr.schedule=constant"),
        (["objective.fs.weight=0", "objective.fs.term.normalised=true"], "objective.fs.weight=0"),
        (["objective.fs.weight=0", "objective.fs.schedule=hold"], "objective.fs.weight=0"),
        (["model.ffb_skip=false"], "model.ffb=false"),
        (["teacher.model.pfb=false", "teacher.model.pfbs_per_level=2"], "teacher.model.pfb=false"),
        (["trainer.gradient_clip_val=null", "trainer.gradient_clip_algorithm=value"], "trainer.gradient_clip_val=null"),
        (["+module.features.late=up.1"], "no term of the objective reads features"),
    ],
)
def test_what_the_value_of_another_key_puts_out_of_use(told, typed, expected):
    line = told(typed, priors=["parsing"], reads_features=False)
    assert line.startswith(f"{typed[-1]} has no effect: {expected}")
    assert "\n" not in line


@pytest.mark.parametrize(
    "typed",
    [
        ["teacher.cache=true", "data.parsing_dropout=0.5"],
        ["data.parsing_damage=displaced", "data.parsing_damage_px=16"],
        ["objective.ts.duration=4", "objective.ts.unit=step", "objective.fs.weight=0"],
        ["objective.sr.start=4", "objective.sr.unit=step"],
        ["model.ffb=true", "model.ffb_skip=false", "teacher.model.pfb=false", "teacher.model.rcabs_per_level=3"],
        ["model._target_=mine.Network", "model.ffb=false", "model.ffb_skip=true"],
        ["data.heatmaps=components", "data.heatmap_px=16", "+module.features.late=up.1"],
    ],
)
def test_what_is_read_is_not_told(told, typed):
    assert told(typed) is None


def test_a_network_of_others_may_read_any_prior_and_have_arguments_of_any_name(told):
    typed = [
        "model._target_=mine.Network",
        "data.heatmaps=components",
        "data.heatmap_px=16",
        "data.parsing_damage=empty",
    ]
    assert told(typed, priors=()) is None


def test_what_another_value_refers_to_has_an_effect(told):
    typed = ["data.heatmaps=components"]
    assert told(typed, priors=())
    assert told(typed, also=["model.keypoints=${heatmap_count:${data.heatmaps}}"], priors=()) is None


@pytest.mark.parametrize(("experiment", "has_effect"), [("student", True), ("student_small", True), ("demo", False)])
def test_a_size_that_no_argument_of_the_network_depends_on(experiment, has_effect):
    config = compose("train", [f"experiment={experiment}", "size=reduced"])
    said = idle_settings(config, ["size=reduced"], {})
    reason = "the sizes of the networks are given by their own arguments; only names tell it."
    told = f"size=reduced has no effect: {reason}"
    assert said == (None if has_effect else told)
    full = compose("train", [f"experiment={experiment}"])
    assert (full.model.width != config.model.width) is has_effect
