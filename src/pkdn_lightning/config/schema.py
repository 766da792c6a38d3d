"""The keys of a configuration and their types. Hydra rejects any other key.

Parts that are instantiated from a class (`model`, `optimizer`, a callback...) are open mappings with a `_target_`;
`instances` checks them against the signature of that class. The values are in `conf/`.
"""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf


@dataclass
class AugmentationConfig:
    """Random variation of training faces; see `data.augmentation.Augmentation`."""

    zoom_in: float = 0.0
    zoom_out: float = 0.0
    turn_deg: float = 0.0
    shift: float = 0.0
    colour: float = 0.0


@dataclass
class DataConfig:
    """A dataset: its store, how faces are read from it, and the source that `prepare` makes it from."""

    name: str = MISSING
    store: str = MISSING
    test_stores: dict[str, str] = field(default_factory=dict)
    scale: int = 8
    degradation: str = "pil"
    encoding: str = "colour"
    batch_size: int = 8
    eval_batch_size: int = 32
    flip_probability: float = 0.0
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    heatmaps: str = "none"
    heatmap_px: int = 32
    parsing_damage: str = "none"
    parsing_damage_px: int = 8
    verify: bool = True
    resident: bool = False
    num_workers: int = 0
    source: dict[str, Any] = field(default_factory=dict)


@dataclass
class TeacherConfig:
    """The teacher a student learns from."""

    checkpoint: str = "none"
    method: str = ""
    experiment: str = ""
    model: dict[str, Any] = field(default_factory=dict)
    max_steps: int | None = None
    max_epochs: int | None = None
    lr: float | None = None


@dataclass
class ModuleConfig:
    """The training scheme, and the memory layout and compilation of the network."""

    _target_: str = MISSING
    channels_last: bool | None = None
    compile: bool | None = None
    recompute: bool = False
    init_from: str | None = None
    discriminator: dict[str, Any] = field(default_factory=dict)
    adversarial_weight: float = 0.0
    gate: bool = False


@dataclass
class TermConfig:
    """A term of the objective: its weight over time (see `losses.Weight`) and the loss itself."""

    weight: float = 1.0
    schedule: str = "constant"
    duration: float | None = None
    unit: str = "epoch"
    start: float = 0
    term: dict[str, Any] = field(default_factory=dict)


@dataclass
class TrainerConfig:
    """Arguments of Lightning's Trainer, under its names; only `precision=auto` is added."""

    accelerator: str = "auto"
    devices: Any = "auto"
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "auto"
    max_epochs: int | None = None
    max_steps: int = -1
    max_time: str | None = None
    accumulate_grad_batches: int = 1
    gradient_clip_val: float | None = None
    gradient_clip_algorithm: str | None = None
    val_check_interval: Any = None
    check_val_every_n_epoch: int | None = 1
    log_every_n_steps: int = 50
    num_sanity_val_steps: int = 1
    limit_train_batches: Any = None
    limit_val_batches: Any = None
    limit_test_batches: Any = None
    overfit_batches: Any = 0.0
    fast_dev_run: Any = False
    deterministic: Any = None
    benchmark: bool | None = None
    detect_anomaly: bool = False
    profiler: str | None = None
    enable_progress_bar: bool = True
    enable_model_summary: bool = False


@dataclass
class PathsConfig:
    """Folders, relative to the working directory."""

    runs: str = "runs"
    stores: str = "stores"


@dataclass
class TrainConfig:
    """Everything `pkdn train` reads."""

    method: str = MISSING
    size: str = "full"
    experiment: str = MISSING
    seed: int = 0
    run_dir: str | None = None
    resume: str | None = None
    test: bool = True
    threads: int | None = None
    tuned: bool = False
    tags: list[str] = field(default_factory=list)
    data: DataConfig = field(default_factory=DataConfig)
    model: dict[str, Any] = field(default_factory=dict)
    module: ModuleConfig = field(default_factory=ModuleConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    objective: dict[str, TermConfig] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    scheduler: dict[str, Any] = field(default_factory=dict)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    callbacks: dict[str, Any] = field(default_factory=dict)
    logger: dict[str, Any] = field(default_factory=dict)
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class MachineConfig:
    """On what a verb computes; see `hardware.set_up`."""

    accelerator: str = "auto"
    threads: int | None = None


@dataclass
class EvaluateConfig(MachineConfig):
    """Everything `pkdn evaluate` reads."""

    models: dict[str, str] = field(default_factory=dict)
    data: DataConfig = field(default_factory=DataConfig)
    split: str = "test"
    protocols: list[str] = field(default_factory=lambda: ["headline"])
    extra: list[str] = field(default_factory=list)
    parser: dict[str, Any] = field(default_factory=dict)
    faces_in_grid: int = 8
    run_dir: str | None = None
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class ReportDataConfig:
    """The stores a report evaluates on; scale and degradation are those of the runs."""

    test_stores: dict[str, str] = field(default_factory=dict)
    eval_batch_size: int = 32
    verify: bool = True


@dataclass
class ReportConfig(MachineConfig):
    """Everything `pkdn report` reads."""

    runs: str = MISSING
    out: str | None = None
    data: ReportDataConfig = field(default_factory=ReportDataConfig)
    faces: int = 5
    seed: int = 0
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class SweepConfig:
    """Everything `pkdn sweep` reads."""

    runs: str = MISSING
    watch: bool = False
    every_s: float = 2.0
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class InfoConfig(MachineConfig):
    """Everything `pkdn info` reads."""

    models: dict[str, str] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    size: str = "full"
    data: DataConfig = field(default_factory=DataConfig)
    faces: int = 1
    size_px: int = 128
    rounds: int = 5
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class PrepareConfig:
    """Everything `pkdn prepare` reads."""

    data: DataConfig = field(default_factory=DataConfig)
    parser: dict[str, Any] = field(default_factory=dict)
    landmarks: dict[str, Any] = field(default_factory=dict)
    check_maps: bool = True
    out: str | None = None
    workers: int | None = None
    shard: str | None = None
    join: str | None = None
    dry_run: bool = False
    verify: str | None = None
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class PredictConfig(MachineConfig):
    """Everything `pkdn predict` reads."""

    model: str = "default"
    input: str = ""
    output: str = ""
    mode: str = "auto"
    faces: str = "low_res"
    upscale: int | None = None
    ensemble: str = "none"
    references: str | None = None
    overwrite: bool = False
    format: str = "png"
    batch_size: int = 16
    runtime: str = "auto"
    precision: str = "32"
    trust: bool = False


@dataclass
class ExportConfig:
    """Everything `pkdn export` reads."""

    model: str = "default"
    output: str = ""
    formats: list[str] = field(default_factory=lambda: ["safetensors", "pt2", "onnx", "int8"])
    store: str | None = None
    split: str = "val"
    faces: int = 64
    push_to: str | None = None
    private: bool = True
    threads: int | None = None


@dataclass
class DemoConfig(MachineConfig):
    """Everything `pkdn demo` reads."""

    model: str = "default"
    other: str | None = None
    teacher: str | None = None
    parser: str | None = None
    host: str = "127.0.0.1"
    names: list[str] = field(default_factory=list)
    port: int | None = None
    browser: bool = True
    upload_mb: float = 20
    megapixels: float = 50
    faces: int = 24
    upload_s: float = 60
    request_s: float = 60
    keep_s: float = 600
    queue: int = 16
    concurrent: int = 2
    runtime: str = "auto"
    precision: str = "32"
    trust: bool = False


def register_schemas() -> None:
    """Registers the schemas with Hydra; the first default of each verb's file names its schema."""
    store = ConfigStore.instance()
    # For `--help` Hydra deep-copies the whole store once per group, which takes two seconds. There is one store per
    # process and its `load` returns copies, so the store itself need not be copied.
    setattr(ConfigStore, "__deepcopy__", lambda self, memo: self)  # noqa: B010  # the class does not declare it
    store.store(name="train_schema", node=_opened(TrainConfig, "data.test_stores"))
    store.store(name="evaluate_schema", node=_opened(EvaluateConfig, "data.test_stores", "models"))
    store.store(name="report_schema", node=_opened(ReportConfig, "data.test_stores"))
    store.store(name="sweep_schema", node=SweepConfig)
    store.store(name="info_schema", node=_opened(InfoConfig, "models"))
    store.store(name="prepare_schema", node=PrepareConfig)
    store.store(name="predict_schema", node=PredictConfig)
    store.store(name="export_schema", node=ExportConfig)
    store.store(name="demo_schema", node=DemoConfig)


def _opened(schema: type, *mappings: str) -> DictConfig:
    """Returns a schema that accepts new keys in some mappings, as in `models.student=runs/a`."""
    node: DictConfig = OmegaConf.structured(schema)
    for mapping in mappings:
        OmegaConf.set_struct(OmegaConf.select(node, mapping), False)
    return node
