"""The Hydra tree: every file composes, mistakes are named, and the parts of an experiment fit together."""

import copy
import re
from collections.abc import Iterator
from itertools import groupby, zip_longest
from pathlib import Path

import pytest
import torch
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException, MissingConfigException
from hydra.utils import get_object
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pkdn_lightning.config import compose, conf_dir
from pkdn_lightning.config.command_line import as_overrides
from pkdn_lightning.config.instances import build_network, check_arguments
from pkdn_lightning.config.schema import TermConfig
from pkdn_lightning.config.training_keys import flatten
from pkdn_lightning.config.tree import unread_in_own_conf
from pkdn_lightning.config.verb import explain
from pkdn_lightning.errors import ConfigError
from pkdn_lightning.hardware import choose_precision
from pkdn_lightning.networks.cost import count_macs
from pkdn_lightning.runs import RunFolder
from pkdn_lightning.train.build import build_callbacks, build_datamodule, build_loggers, build_objective

INFERENCE = "inference"  # no group: the verbs that use a trained model
FILES = sorted(path.relative_to(conf_dir()).with_suffix("") for path in conf_dir().glob("*/*.yaml"))
GROUPS = [path for path in FILES if path.parent.name != INFERENCE]
VERBS = sorted(path.stem for folder in (conf_dir(), conf_dir() / INFERENCE) for path in folder.glob("*.yaml"))
EXPERIMENTS, DATASETS, PRESETS, MODELS = (
    [path.name for path in GROUPS if path.parent.name == group] for group in ("experiment", "data", "debug", "model")
)
PREPARING = ("parser", "landmarks")  # groups that only `prepare` has


@pytest.mark.parametrize("choice", [choice for choice in GROUPS if choice.parent.name in PREPARING], ids=str)
def test_every_way_to_prepare_composes(choice):
    cfg = compose("prepare", [f"{choice.parent}={choice.name}"])
    spec = cfg[choice.parent.name]
    if spec:
        check_arguments(get_object(spec["_target_"]), {key: spec[key] for key in spec if key != "_target_"}, "spec")


@pytest.mark.parametrize("choice", [choice for choice in GROUPS if choice.parent.name == "data"], ids=str)
def test_every_source_takes_its_options(choice):
    source = compose("prepare", [f"data={choice.name}"]).data.source
    check_arguments(get_object(source["_target_"]), {key: source[key] for key in source if key != "_target_"}, "source")


def check_builds(cfg, folder: Path) -> None:
    """Builds every part of a training's configuration."""
    OmegaConf.resolve(cfg)
    with torch.device("meta"):  # sizes without numbers
        build_network(cfg.model)
    build_objective(cfg.objective)
    build_datamodule(cfg.data, seed=0, require_parsing=False)
    build_callbacks(cfg.callbacks, RunFolder(folder))
    build_loggers(cfg.logger, "id", "student")


TRAINING = [path for path in GROUPS if path.parent.name not in (*PREPARING, "experiment") and path.name != "ray"]


def side_by_side() -> Iterator[list[str]]:
    """Yields the first file of every group, then the second of every group, and so on: one composition for many."""
    groups = [list(files) for _, files in groupby(TRAINING, lambda path: path.parent.name)]
    for files in zip_longest(*groups):
        yield [f"{path.parent}={path.name}" for path in files if path]


@pytest.mark.parametrize("choices", side_by_side(), ids=" ".join)
def test_every_file_composes_and_builds(choices, tmp_path):
    check_builds(compose("train", [*choices, f"run_dir={tmp_path}"]), tmp_path)


def test_ray_composes():
    pytest.importorskip("ray", reason="an extra: pip install 'pkdn-lightning[ray]'")
    assert compose("train", ["launch=ray"])


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_composes(verb):
    assert OmegaConf.to_container(compose(verb))


@pytest.mark.parametrize("verb", [each for each in VERBS if each != "sweep"])  # which reads small files only
def test_every_verb_that_computes_takes_threads(verb):
    assert compose(verb, ["threads=3"]).threads == 3


def test_a_parser_has_the_threads_of_its_verb():
    for verb in ("prepare", "evaluate"):
        assert compose(verb, ["parser=bisenet", "threads=3"]).parser.threads == 3


@pytest.mark.parametrize("verb", [path.name for path in FILES if path.parent.name == INFERENCE])
def test_to_the_verbs_that_use_a_model_it_is_a_path(verb):
    assert compose(verb, ["model=runs/student_celeba/2026-01-31_12-00-00"]).model.startswith("runs/")
    with pytest.raises(HydraException) as caught:
        compose(verb, ["modelx=runs/a"])
    assert "Did you mean 'model'" in explain(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        "a b",
        "Photo (1), it's [2].jpg",
        'a"b',
        "x=y",
        "back\\",
        "a\\'b",
        "{a}",
        "~/x",
        "*.png",
        "",
        "José",
        "家族",
        "Bilder ä (2)",
        "run=1",
        "#1",
        "a;b",
        "!",
        "[x]",
        "a${b}.png",
        "%",
    ],
)
def test_what_is_typed_arrives_whatever_letters_it_holds(value):
    assert compose("predict", as_overrides("predict", [f"input={value}"])).input == value
    names = [f"models.a={value}"]
    if not set("{}[](),#*'\"$\\") & set(value):  # these mean something in what is no name of a file
        names.append(f"data.name={value}")
    cfg = compose("evaluate", as_overrides("evaluate", names))
    assert (cfg.models.a, cfg.data.name) == (value, value if len(names) == 2 else "celeba")


@pytest.mark.parametrize(
    ("verb", "typed", "quoted"),
    [
        ("predict", ["input=null", "mode=lr"], ["input=null", "mode=lr"]),
        ("train", ["seed=0,1", "-m", "data.store=a,b"], ["seed=0,1", "data.store=a,b", "-m"]),
        ("train", ["data.store=a,b"], ["data.store='a,b'"]),
        ("train", ["-m", "data.name=José,b"], ["data.name='José',b", "-m"]),
        ("train", ["tags=[é,b c]"], ["tags=['é',b c]"]),
        ("train", ["--config-dir", "my conf", "~debug"], ["~debug", "--config-dir", "my conf"]),
        ("train", ["data.source.path=x=1", "+data.test_stores.a=b=1"],
         ["data.source.path='x=1'", "+data.test_stores.a='b=1'"]),
        ("train", ["run_dir='quoted already'"], ["run_dir='quoted already'"]),
        ("train", ["run_dir=${oc.env:HOME}/a"], ["run_dir=${oc.env:HOME}/a"]),
        ("train", ["run_dir=a/seed-${seed}"], ["run_dir=a/seed-${seed}"]),
        ("train", ["run_dir=a/${hydra.job.name}"], ["run_dir=a/${hydra.job.name}"]),
        ("predict", ["input=a${b}.png"], [r"input='a\${b}.png'"]),
        ("train", ["experiment=[demo,1]", "-m"], ["experiment=[demo,'1']", "-m"]),
        ("train", ["model=True,2024,sparnet", "seed=1,2", "-m"], ["model='True','2024',sparnet", "seed=1,2", "-m"]),
        ("train", ["experiment=choice(demo, 2024)", "-m"], ["experiment=choice(demo, '2024')", "-m"]),
        ("train", ["objective=glob(distillation_w*)", "-m"], ["objective=glob(distillation_w*)", "-m"]),
        ("train", ["model@teacher.model=1e3"], ["model@teacher.model='1e3'"]),
    ],
)  # fmt: skip
def test_values_are_quoted_where_the_grammar_would_misread_them(verb, typed, quoted):
    assert as_overrides(verb, typed) == quoted


@pytest.mark.parametrize(
    ("experiment", "steps", "milestones"),
    [("dic", 150_000, [10_000, 20_000, 40_000, 80_000]), ("dicgan", 80_000, [10_000, 20_000, 40_000])],
)
def test_a_network_with_two_training_schemes_has_two_published_recipes(experiment, steps, milestones):
    cfg = compose("train", [f"experiment={experiment}", "data=portraits", "data.heatmaps=landmarks"])
    assert (cfg.trainer.max_steps, cfg.scheduler.milestones) == (steps, milestones)
    assert compose("train", [f"experiment={experiment}", "data=portraits", "recipe=common"]).trainer.max_steps == 20_000


@pytest.mark.parametrize("wrong", ["foo", "=3", "a b=3", "~"])
def test_what_is_no_override_is_said(wrong):
    with pytest.raises(ConfigError, match="is no override: expected key=value"):
        as_overrides("train", [wrong])


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_begins_with_its_command(name):
    package, schema, command = (conf_dir() / f"experiment/{name}.yaml").read_text().splitlines()[:3]
    assert (package, schema) == ("# @package _global_", "# yaml-language-server: $schema=../experiment.schema.json")
    assert command.partition("        ")[0] == f"# pkdn train experiment={name}"


FIRST = ("celeba",)  # the others are slow


@pytest.mark.parametrize(
    "dataset", [*FIRST, *(pytest.param(name, marks=pytest.mark.slow) for name in DATASETS if name not in FIRST)]
)
def test_every_experiment_builds_is_named_by_method_and_data_and_overridden_by_debug_presets(dataset, tmp_path):
    methods = {}
    for number, experiment in enumerate(EXPERIMENTS):
        preset = PRESETS[(number + DATASETS.index(dataset)) % len(PRESETS)]
        cfg = compose(
            "train", [f"experiment={experiment}", f"data={dataset}", f"debug={preset}", f"run_dir={tmp_path}"]
        )
        method = re.sub("_(celeba|helen)$", "", experiment)
        name = f"{method}_{dataset}"
        assert (cfg.experiment, cfg.data.name) == (name, dataset)
        assert methods.setdefault(name, method) == method
        if cfg.teacher.checkpoint == "auto":
            assert cfg.teacher.experiment == f"{cfg.teacher.method}_{dataset}"
        files = OmegaConf.load(conf_dir() / f"debug/{preset}.yaml"), cfg
        wanted, composed = (dict(flatten(OmegaConf.to_container(each))) for each in files)
        assert wanted.items() <= composed.items()
        check_builds(cfg, tmp_path)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in ("dic", "fsrnet", "sfmnet", "sparnet") else [])
        for name in MODELS
        if not name.endswith("_teacher")
    ],
)
def test_reduced_networks_cost_about_the_same(model):
    with torch.device("meta"):
        net, lr = (
            build_network(compose("info", [f"model={model}", "size=reduced"]).model).eval(),
            torch.rand(1, 3, 16, 16),
        )
    assert 0.2e9 < count_macs(net, lr) < 0.32e9


def test_a_reduced_network_has_a_name_of_its_own_and_a_reduced_teacher():
    cfg = compose("train", ["experiment=kdfsrnet", "size=reduced", "data=helen"])
    assert (cfg.experiment, cfg.teacher.experiment) == ("kdfsrnet_helen_reduced", "kdfsrnet_teacher_helen_reduced")
    assert (cfg.model.width, cfg.teacher.model.width) == (8, 8)
    with pytest.raises(OmegaConfBaseException, match="size=reducd is neither full nor reduced. Did you mean 'reduced'"):
        OmegaConf.to_container(compose("train", ["size=reducd"]), resolve=True)


@pytest.mark.parametrize(
    ("learner", "taught_by"),
    [("student", "teacher"), ("student_helen", "teacher_helen"), ("student_small", "teacher_small"),
     ("kdfsrnet", "kdfsrnet_teacher")],
)  # fmt: skip
def test_student_and_teacher_experiments_agree(learner, taught_by):
    """A teacher trained by its own experiment is the one that the student's experiment looks for."""
    student, teacher = (compose("train", [f"experiment={name}"]) for name in (learner, taught_by))
    wanted = OmegaConf.to_container(student.teacher.model, resolve=True)
    assert wanted == OmegaConf.to_container(teacher.model, resolve=True)
    assert student.teacher.experiment == teacher.experiment
    assert student.data == teacher.data
    assert student.teacher.max_steps in (None, teacher.trainer.max_steps)


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if "student" in name or name in ("demo", "kdfsrnet")])
def test_every_student_experiment_can_do_without_distillation(name):
    cfg = compose("train", [f"experiment={name}", "objective=reconstruction"])
    assert not build_objective(cfg.objective).needs_teacher()


def test_recipe_paper_is_what_the_literature_states():
    cfg = compose("train", ["experiment=student_celeba"])
    assert (cfg.optimizer.lr, list(cfg.optimizer.betas), cfg.optimizer.eps) == (1e-4, [0.9, 0.99], 1e-8)
    assert (cfg.data.batch_size, cfg.trainer.max_epochs, cfg.data.flip_probability) == (8, 400, 0.0)
    assert (cfg.objective.ts.weight, cfg.objective.ts.schedule) == (0.1, "hold")
    assert (cfg.objective.fs.weight, cfg.objective.fs.schedule, cfg.objective.fs.duration) == (10.0, "linear", 10)
    assert dict(cfg.scheduler) == {}


def test_the_encoding_reaches_the_teacher():
    cfg = compose("train", ["experiment=student_celeba", "data.encoding=onehot"])
    assert cfg.teacher.model.parsing_channels == 19


@pytest.mark.parametrize(
    ("verb", "override", "message"),
    [
        ("train", "traner.max_steps=3", "Unknown key 'traner'. Did you mean 'trainer'?"),
        ("train", "trainer.max_step=3", "Unknown key 'trainer.max_step'. Did you mean 'trainer.max_steps'?"),
        ("train", "data.batchsize=3", "Unknown key 'data.batchsize'. Did you mean 'data.batch_size'?"),
        ("train", "experiment=student_celebb", "Did you mean 'student_celeba'?"),
        ("train", "expriment=student_celeba", "Did you mean 'experiment'?"),
        ("train", "trainer.max_steps=many", "trainer.max_steps=many: expected a whole number"),
        ("train", "data.scale=1.5", "data.scale=1.5: expected a whole number"),
        ("train", "data.resident=foo", "data.resident=foo: expected true or false"),
        ("train", "data.blind.sigma=0.5", "data.blind.sigma: expected a list, e.g. data.blind.sigma=[1,2]"),
        ("train", "model.widht=3", "Did you mean 'model.width'?"),
        ("evaluate", "splitt=val", "Did you mean 'split'?"),
    ],
)
def test_a_mistake_is_named(verb, override, message):
    with pytest.raises((HydraException, OmegaConfBaseException)) as caught:
        compose(verb, [override])
    assert message in explain(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "# @package _global_\ntrainer: {max_stepz: 3}\n",
            "In conf/experiment/mine.yaml: Unknown key 'trainer.max_stepz'",
        ),
        (
            "# @package _global_\ndefaults:\n  - override /modelx: sisn\n",
            "In conf/experiment/mine.yaml: Unknown key 'modelx'",
        ),
        ("defaults:\n  - override /data: portraits\n", "begin with the line '# @package _global_'"),
    ],
)
def test_a_mistake_in_an_own_experiment_is_named(text, message, tmp_path, monkeypatch):
    (tmp_path / "conf/experiment").mkdir(parents=True)
    (tmp_path / "conf/experiment/mine.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises((HydraException, OmegaConfBaseException)) as caught:
        compose("train", ["experiment=mine"])
    assert message in explain(caught.value)


@pytest.mark.parametrize(
    ("build", "override", "message"),
    [
        (lambda cfg: build_network(cfg.model), "+model.widht=3", "'model.widht'. Did you mean 'model.width'?"),
        (lambda cfg: build_network(cfg.model), "model.width=wide", "model.width=wide: expected a whole number"),
        (lambda cfg: build_network(cfg.model), "model.ffb=3", "model.ffb=3: expected true or false"),
        (lambda cfg: build_network(cfg.model), "model.ffb_source=stages", "Did you mean 'stage'?"),
        (
            lambda cfg: build_network(cfg.model),
            "model._target_=pkdn_lightning.networks.pkdn.Student",
            "cannot be found",
        ),
        (lambda cfg: build_objective(cfg.objective), "objective.fs.schedule=linar", "Did you mean 'linear'?"),
        (lambda cfg: build_objective(cfg.objective), "objective.sr.weight=-1", "objective.sr.weight"),
        (
            lambda cfg: build_datamodule(cfg.data, seed=0, require_parsing=False),
            "data.encoding=color",
            "Did you mean 'colour'?",
        ),
    ],
)
def test_a_mistake_in_an_open_part_is_named(build, override, message):
    with pytest.raises(ConfigError) as caught:
        build(compose("train", [override]))
    assert message in str(caught.value)


def test_a_launcher_that_is_not_installed_is_named_with_its_extra():
    for name, extra in (("launcher/joblib", "sweeps"), ("launcher/ray", "ray"), ("sweeper/optuna", "sweeps")):
        error = MissingConfigException("Could not find it", missing_cfg_file=f"hydra/{name}", options=["basic"])
        assert f"pip install 'pkdn-lightning[{extra}]'" in explain(error)


def test_a_weight_without_its_term_is_named():
    cfg = compose("train", ["objective=reconstruction"])
    OmegaConf.set_struct(cfg.objective, False)
    cfg.objective["ts"] = TermConfig(weight=1.0)
    with pytest.raises(ConfigError, match=r"objective\.ts has a weight but computes nothing"):
        build_objective(cfg.objective)


def test_precision():
    assert choose_precision("auto", "cpu") == "32-true"
    assert choose_precision("bf16-mixed", "cpu") == "bf16-mixed"
    with pytest.raises(ConfigError, match="16-mixed needs a GPU. On a CPU: trainer.precision=bf16-mixed"):
        choose_precision("16-mixed", "cpu")


def test_conf_lies_beside_the_source_in_a_checkout():
    assert conf_dir() == Path(__file__).resolve().parents[2] / "conf"


def test_the_one_store_of_schemas_is_not_copied_for_every_group_that_help_lists():
    compose("train")
    assert copy.deepcopy(ConfigStore.instance()) is ConfigStore.instance()
    compose("train", ["seed=7"]).data.test_stores["other"] = "there"
    assert compose("train").seed == 0
    assert not compose("train").data.test_stores  # what is handed out is a copy


def test_what_replaced_the_drawn_faces_is_said(tmp_path, capsys):
    assert as_overrides("train", ["data=synthetic", "seed=1"]) == ["data=portraits", "seed=1"]
    assert "data=portraits is used" in capsys.readouterr().err
    (tmp_path / "stores/synthetic").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"data=portraits\n.*data=folder data.name=synthetic"):
        as_overrides("evaluate", ["data=synthetic"])


def test_files_of_ones_own_that_nothing_reads_are_named(tmp_path, monkeypatch):
    for name in ("modell/mine.yaml", "train.yaml", "model/mine.yaml", "nginx/site.yaml", "experiment/train.yaml"):
        (tmp_path / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / name).write_text("a: 1\n")
    monkeypatch.chdir(tmp_path)
    assert unread_in_own_conf() == [
        "conf/modell/ is not read: no group has this name. Did you mean conf/model/?",
        "conf/train.yaml is not read; settings of your own go into conf/experiment/<name>.yaml.",
    ]


def test_arguments_of_another_class_are_named_with_how_to_leave_them_out():
    with pytest.raises(ConfigError, match="Unknown key 'model.width'(?s:.*)'~model.width' '~model.ffb'"):
        check_arguments(lambda depth: None, {"width": 1, "depth": 2, "ffb": 3}, "model")
