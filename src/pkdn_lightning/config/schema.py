"""The keys of a configuration: the type, the accepted values, the default and the meaning of each.

Hydra rejects any other key, and `pkdn <verb> --help` prints what stands here. Parts that are instantiated from a class
(`model`, `optimizer`, a callback...) are open mappings with a `_target_`; `instances` checks them against the signature
of that class. What an experiment or a data set changes is in `conf/`.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from pkdn_lightning.data.strengths import Strengths
from pkdn_lightning.values import (
    Change,
    Count,
    Degradation,
    File,
    FileName,
    Files,
    Limit,
    Natural,
    NonNegative,
    OneOf,
    Positive,
    Range,
    Seed,
    Share,
    Side,
    Threads,
    Turn,
)

_Portion = Annotated[int | float, Range(0)]
PRECISIONS: Final = (
    "32-true", "32", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true", "16", "bf16", "64",
    "transformer-engine", "transformer-engine-float16",
)  # fmt: skip
"""What Lightning's Trainer knows."""


@dataclass
class AugmentationConfig:
    """Random changes of the training faces; see `data.augmentation.Augmentation`.

    Attributes:
        zoom_in: Maximum enlargement; 0.3 enlarges a face up to 1.3 times.
        zoom_out: Maximum reduction.
        turn_deg: Maximum rotation to either side, in degrees.
        shift: Maximum shift, as a fraction of the side.
        colour: Maximum relative change of brightness, contrast and saturation.
    """

    zoom_in: Change = 0.0
    zoom_out: Change = 0.0
    turn_deg: Turn = 0.0
    shift: Change = 0.0
    colour: Change = 0.0


@dataclass
class DataConfig:
    """A data set: its store, how faces are read from it, and the source that `prepare` makes it from.

    Attributes:
        name: Name of the data set, in run names and tables.
        store: Folder, archive or URL of the store.
        test_stores: Stores to test on, by name; data.store if empty.
        scale: Enlargement of the LR face, e.g. 8.
        degradation: How LR is made: bicubic as in Pillow or as in MATLAB, blind, or by your own function.
        blind: Strengths of the blind degradations.
        encoding: How parsing maps enter a network: as colours, one channel a label, or ids.
        batch_size: Faces a training step, in each process.
        eval_batch_size: Faces at a time in validation and tests.
        flip_probability: Probability that a training face is mirrored.
        augmentation: Random changes of the training faces.
        heatmaps: Heatmaps for methods that learn from them: of landmarks, or of the components of parsing maps.
        heatmap_px: Side of the heatmaps, in pixels.
        parsing_damage: Damages the parsing maps, to measure what their quality is worth.
        parsing_damage_px: Extent of that damage, in pixels.
        parsing_dropout: Share of training faces whose parsing map is empty, for networks that read maps.
        verify: Compares the store with its hashes once.
        resident: Keeps the store in the memory of the device; false if null, unless tuned and it fits easily.
        num_workers: Processes that read batches; 0 reads them in the training process.
        source: Where `pkdn prepare` finds the data set, and how it reads it.
    """

    name: str = MISSING
    store: File = MISSING
    test_stores: Files = field(default_factory=dict)
    scale: Annotated[int, Range(1, 64)] = 8
    degradation: Degradation = "pil"
    blind: Strengths = field(default_factory=Strengths)
    encoding: Annotated[str, OneOf("colour", "onehot", "index")] = "colour"
    batch_size: Count = 8
    eval_batch_size: Count = 32
    flip_probability: Share = 0.0
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    heatmaps: Annotated[str, OneOf("none", "landmarks", "components")] = "none"
    heatmap_px: Count = 32
    parsing_damage: Annotated[str, OneOf("none", "shuffled", "displaced", "blurred", "other", "empty")] = "none"
    parsing_damage_px: Natural = 8
    parsing_dropout: Share = 0.0
    verify: bool = True
    resident: bool | None = None
    num_workers: Annotated[int, Range(0, 256)] = 0
    source: Annotated[dict[str, Any], FileName(in_mapping=True, keys=("path", "splits"))] = field(default_factory=dict)


@dataclass
class TeacherConfig:
    """The teacher that a student learns from.

    Attributes:
        checkpoint: A run or checkpoint; auto takes the newest that fits or trains one; none has no teacher.
        method: Method that trains it.
        experiment: Name of its run, if it has to be trained.
        model: Its network, if it has to be trained.
        max_steps: Steps of its training; the student's if null.
        max_epochs: Epochs of its training; the student's if null.
        lr: Its learning rate; the student's if null.
        seed: A teacher of this seed, trained if there is none; if null, of any, and trained with the student's.
        features: Layers whose outputs are further features, by name.
        cache: Computes the teacher's faces once and keeps them beside the store, for losses that read no features.
    """

    checkpoint: File = "none"
    method: str = ""
    experiment: str = ""
    model: dict[str, Any] = field(default_factory=dict)
    max_steps: Limit | None = None
    max_epochs: Limit | None = None
    lr: Positive | None = None
    seed: Seed | None = None
    features: dict[str, str] = field(default_factory=dict)
    cache: bool = False


@dataclass
class ModuleConfig:
    """The training scheme, and memory layout and compilation of the network.

    Attributes:
        channels_last: Keeps channels together in memory; false if null, true if tuned.
        compile: Compiles the networks' blocks by torch.compile: true, false, or graphs, which compiles whole networks
            and records CUDA graphs, for small batches. If null, only a tuned, long run on a GPU compiles.
        recompute: Gradient checkpointing: half the memory of a step for a quarter more time.
        init_from: A run or checkpoint to copy weights of equal name and shape from, or `teacher`: the run's teacher.
        discriminator: The discriminator of an adversarial method.
        adversarial_weight: Weight of the adversarial loss.
        gate: Rests the network or the discriminator while the other is behind.
        features: Layers whose outputs are further features, by name, e.g. {d3: body.2}.
    """

    _target_: str = MISSING
    channels_last: bool | None = None
    compile: bool | Annotated[str, OneOf("graphs")] | None = None
    recompute: bool = False
    init_from: File | None = None
    discriminator: dict[str, Any] = field(default_factory=dict)
    adversarial_weight: NonNegative = 0.0
    gate: bool = False
    features: dict[str, str] = field(default_factory=dict)


@dataclass
class TermConfig:
    """A term of the objective: its weight over time (see `losses.Weight`) and the loss itself.

    Attributes:
        weight: Weight of the term, e.g. λ_TS; 0 leaves it out.
        schedule: Whether the weight stays, falls linearly, or holds until `duration`.
        duration: The unit at which a linear weight has become 0, or the last one that is held.
        unit: Unit of duration and start.
        start: When the term begins, in units.
        term: The loss.
    """

    weight: NonNegative = 1.0
    schedule: Annotated[str, OneOf("constant", "linear", "hold")] = "constant"
    duration: Positive | None = None
    unit: Annotated[str, OneOf("epoch", "step")] = "epoch"
    start: NonNegative = 0
    term: dict[str, Any] = field(default_factory=dict)


@dataclass
class TrainerConfig:
    """Arguments of Lightning's Trainer, under its names; only `precision=auto` is added.

    Attributes:
        accelerator: What to compute on.
        devices: Number of devices, a list of them, or auto.
        num_nodes: Number of computers.
        strategy: How several devices work together.
        precision: Number format; auto is bf16-mixed on GPUs that have it, else 32-true.
        max_epochs: Length in passes over the data; -1 for no limit.
        max_steps: Length in optimiser steps; -1 for no limit.
        max_time: Length in time, days:hours:minutes:seconds.
        accumulate_grad_batches: Batches a step.
        gradient_clip_val: Largest norm of the gradient; null does not clip.
        gradient_clip_algorithm: Clips by norm or by value.
        val_check_interval: Validates every so many steps, or after this share of an epoch.
        check_val_every_n_epoch: Validates every so many epochs; null counts val_check_interval across epochs.
        log_every_n_steps: Steps between logged values.
        num_sanity_val_steps: Batches validated before the first step.
        limit_train_batches: Batches an epoch, or their share.
        limit_val_batches: Batches a validation, or their share.
        limit_test_batches: Batches a test, or their share.
        overfit_batches: Trains and validates on so many batches only, or on this share.
        fast_dev_run: Runs a few steps only and keeps nothing.
        deterministic: Uses deterministic kernels only.
        benchmark: Lets cuDNN choose its kernels by measuring.
        detect_anomaly: Finds the operation that made a gradient not-a-number; slow.
        profiler: Measures the training: simple, advanced, or trace for a trace file.
        enable_progress_bar: Shows a progress bar.
        enable_model_summary: Shows a table of the network's layers.
    """

    accelerator: Annotated[str, OneOf("auto", "cpu", "gpu", "cuda", "mps", "tpu")] = "auto"
    devices: Any = "auto"
    num_nodes: Count = 1
    strategy: str = "auto"
    precision: Annotated[str, OneOf("auto", *PRECISIONS)] = "auto"
    max_epochs: Limit | None = None
    max_steps: Limit = -1
    max_time: str | None = None
    accumulate_grad_batches: Count = 1
    gradient_clip_val: NonNegative | None = None
    gradient_clip_algorithm: Annotated[str, OneOf("norm", "value")] | None = None
    val_check_interval: Annotated[int | float, Range(0, above=True)] | None = None
    check_val_every_n_epoch: Count | None = 1
    log_every_n_steps: Count = 50
    num_sanity_val_steps: Annotated[int, Range(-1)] = 1
    limit_train_batches: _Portion | None = None
    limit_val_batches: _Portion | None = None
    limit_test_batches: _Portion | None = None
    overfit_batches: _Portion = 0.0
    fast_dev_run: bool | Count = False
    deterministic: bool | Annotated[str, OneOf("warn")] | None = None
    benchmark: bool | None = None
    detect_anomaly: bool = False
    profiler: Annotated[str, OneOf("simple", "advanced", "pytorch", "xla", "trace")] | None = None
    enable_progress_bar: bool = True
    enable_model_summary: bool = False


@dataclass
class PathsConfig:
    """Folders, relative to the working directory.

    Attributes:
        runs: Folder of the runs.
        stores: Folder of the stores.
    """

    runs: File = "runs"
    stores: File = "stores"


@dataclass
class TrainConfig:
    """Everything `pkdn train` reads.

    Attributes:
        method: Name of the method; the experiment sets it.
        size: The full network, or one of about 0.25 GMACs a face (a teacher more or less).
        experiment: Names run folders, tracker runs and the checkpoint's card.
        seed: Seed of weights, order and augmentation.
        run_dir: Folder of the run; a dated one below paths.runs if null.
        resume: A run to continue with the configuration saved there.
        test: Evaluates the best checkpoint on the test splits at the end.
        threads: CPU threads; torch decides if null.
        tuned: Chooses precision, layout, compilation and optimiser kernel for the machine where they are not set.
        tags: Words for the experiment tracker.
        data: The data set.
        model: The network.
        module: The training scheme.
        teacher: The teacher.
        objective: The terms of the loss.
        optimizer: The optimiser.
        scheduler: The schedule of the learning rate; constant if empty.
        trainer: Lightning's Trainer.
        callbacks: What happens during the training besides it.
        logger: Where values are logged.
        paths: Folders.
    """

    method: str = MISSING
    size: str = "full"
    experiment: str = MISSING
    seed: Seed = 0
    run_dir: File | None = None
    resume: File | None = None
    test: bool = True
    threads: Threads | None = None
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
    """On what a verb computes; see `hardware.set_up`.

    Attributes:
        accelerator: What to compute on.
        threads: CPU threads; torch decides if null.
    """

    accelerator: Annotated[str, OneOf("auto", "cpu", "gpu", "cuda")] = "auto"
    threads: Threads | None = None


@dataclass
class EvaluateConfig(MachineConfig):
    """Everything `pkdn evaluate` reads.

    Attributes:
        models: What to evaluate, by its name in the table; bicubic is always included.
        data: The data set.
        split: The part of the store that is measured.
        protocols: How PSNR and SSIM are computed: headline, no_border, rgb, rgb_no_border, float.
        extra: Perceptual metrics: parsing, identity, lpips.
        parser: The face parser of extra=[parsing].
        faces_in_grid: Faces in the picture of results.
        run_dir: Folder for the results; a dated one below evaluations/ if null.
        paths: Folders.
    """

    models: Files = field(default_factory=dict)
    data: DataConfig = field(default_factory=DataConfig)
    split: Annotated[str, OneOf("train", "val", "test")] = "test"
    protocols: list[str] = field(default_factory=lambda: ["headline"])
    extra: list[str] = field(default_factory=list)
    parser: Annotated[dict[str, Any], FileName(in_mapping=True, keys=("path", "weights"))] = field(default_factory=dict)
    faces_in_grid: Count = 8
    run_dir: File | None = None
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class ReportDataConfig:
    """The stores a report evaluates on; scale and degradation are those of the runs.

    Attributes:
        test_stores: Stores by name; those that the runs were tested on if empty.
        eval_batch_size: Faces at a time.
        verify: Compares each store with its hashes once.
    """

    test_stores: Files = field(default_factory=dict)
    eval_batch_size: Count = 32
    verify: bool = True


@dataclass
class ReportConfig(MachineConfig):
    """Everything `pkdn report` reads.

    Attributes:
        runs: Folder that contains the run folders.
        out: Folder of the report; <runs>/report if null.
        data: The stores to evaluate on.
        faces: Rows of Figure 4, and maximum number of faces on the page.
        seed: Seed of the bootstrap.
        paths: Folders.
    """

    runs: File = MISSING
    out: File | None = None
    data: ReportDataConfig = field(default_factory=ReportDataConfig)
    faces: Count = 5
    seed: Seed = 0
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class SweepConfig:
    """Everything `pkdn sweep` reads.

    Attributes:
        runs: Folder that contains the run folders.
        watch: Refreshes the table until Ctrl-C.
        every_s: Seconds between refreshes.
        paths: Folders.
    """

    runs: File = MISSING
    watch: bool = False
    every_s: Annotated[float, Range(0.1, 86400)] = 2.0
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class InfoConfig(MachineConfig):
    """Everything `pkdn info` reads.

    Attributes:
        models: Trained models, by their name in the table.
        model: An untrained network, if models is empty.
        size: The full network, or one of about 0.25 GMACs a face (a teacher more or less).
        data: The data set whose scale and encoding the network has; no face is read.
        faces: Faces at a time.
        size_px: Side of the restored faces, in pixels.
        rounds: Timed calls; the median is reported.
        paths: Folders.
    """

    models: Files = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    size: str = "full"
    data: DataConfig = field(default_factory=DataConfig)
    faces: Annotated[int, Range(1, 4096)] = 1
    size_px: Side = 128
    rounds: Count = 5
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class PrepareConfig:
    """Everything `pkdn prepare` reads.

    Attributes:
        data: The data set: source and store.
        parser: What makes parsing maps where the source has none.
        landmarks: What finds landmarks where the source has none.
        check_maps: Refuses parsing maps whose labels do not lie as the parts of a face do.
        out: Folder of the store; data.store if null.
        workers: Processes; one per core if null, 0 for none.
        threads: CPU threads of the parser; torch decides if null.
        shards: Prepares this many parts as jobs, on what launch says, and joins them.
        shard: i/n prepares part i of n, on several machines.
        join: A store whose parts are to be joined.
        dry_run: Reports what would be done.
        verify: A store to compare with its hashes.
        paths: Folders.
    """

    data: DataConfig = field(default_factory=DataConfig)
    parser: Annotated[dict[str, Any], FileName(in_mapping=True, keys=("path", "weights"))] = field(default_factory=dict)
    landmarks: dict[str, Any] = field(default_factory=dict)
    check_maps: bool = True
    out: File | None = None
    workers: Annotated[int, Range(0, 1024)] | None = None
    threads: Threads | None = None
    shards: Annotated[int, Range(1, 9999)] | None = None
    shard: str | None = None
    join: File | None = None
    dry_run: bool = False
    verify: File | None = None
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class PredictConfig(MachineConfig):
    """Everything `pkdn predict` reads.

    Attributes:
        model: Run, checkpoint, .safetensors, .pt2, .onnx, owner/name on the hub, or an included model; default takes
            the included ones, each for its size of faces.
        input: An image, a folder, or a quoted pattern.
        output: Folder for results and manifest.jsonl; finished images are skipped.
        mode: What images are: already of LR size, a face that fills the square, photographs, or each by its looks.
        faces: Restores in photographs those with no more detail than the network reads, or all.
        upscale: Factor by which photographs are enlarged; they keep their size if null.
        strength: Share of the restored face in the result, from 0, the original, to 1.
        ensemble: Averages with the result of the mirrored image, for twice the time.
        references: Folder of ground-truth images with the same names, for PSNR and SSIM.
        overwrite: Restores again what was restored before.
        format: Format of results: PNG, or that of the input.
        batch_size: Faces at a time.
        runtime: What runs the network; auto takes included models in 8 bits on CPUs, others by the file's suffix.
        precision: Number format of the network.
        trust: Opens .pt2 files, which can run any code; only for files that you trust.
    """

    model: File = "default"
    input: File = ""
    output: File = ""
    mode: Annotated[str, OneOf("auto", "lr", "aligned", "photo")] = "auto"
    faces: Annotated[str, OneOf("low_res", "all")] = "low_res"
    upscale: Annotated[int, Range(1, 64)] | None = None
    strength: Share = 1.0
    ensemble: Annotated[str, OneOf("none", "flip")] = "none"
    references: File | None = None
    overwrite: bool = False
    format: Annotated[str, OneOf("png", "same")] = "png"
    batch_size: Count = 16
    runtime: Annotated[str, OneOf("auto", "torch", "onnx", "pt2")] = "auto"
    precision: Annotated[str, OneOf("32", "bf16")] = "32"
    trust: bool = False


@dataclass
class ExportConfig:
    """Everything `pkdn export` reads.

    Attributes:
        model: Run, checkpoint, .safetensors, owner/name on the hub, or the default model.
        output: Folder for the exported files.
        formats: Formats to write: safetensors, pt2, onnx, int8.
        store: Faces for the comparison and for int8 calibration; included portraits if null.
        split: Part of the store; the included portraits are compared on `test` and calibrated on `train`.
        faces: Number of faces.
        int8_loss_db: Loss that int8 may have: its first convolutions stay in float32, as few as this allows.
        push_to: owner/name on the Hugging Face hub, to which the safetensors files are uploaded.
        private: Makes a new repository there private.
        threads: CPU threads; torch decides if null.
    """

    model: File = "default"
    output: File = ""
    formats: list[str] = field(default_factory=lambda: ["safetensors", "pt2", "onnx", "int8"])
    store: File | None = None
    split: Annotated[str, OneOf("train", "val", "test")] = "val"
    faces: Count = 64
    int8_loss_db: Positive = 0.02
    push_to: str | None = None
    private: bool = True
    threads: Threads | None = None


@dataclass
class DemoConfig(MachineConfig):
    """Everything `pkdn demo` reads.

    Attributes:
        model: Run, checkpoint, .safetensors, .pt2, .onnx, owner/name on the hub, or an included model; default takes
            the included ones, each for its size of faces.
        other: A second model to compare with.
        teacher: A teacher, shown for sharp faces whose parsing map is known.
        parser: BiSeNet's weights, for that map; without them only the examples have one.
        host: Address to listen at: 127.0.0.1 for this computer only, 0.0.0.0 for all who can reach it.
        names: Further names that the page is opened by, e.g. behind a proxy.
        port: Port; the first free one from 7860 if null.
        browser: Opens a browser if there is a screen.
        upload_mb: Maximum size of an upload, in megabytes.
        megapixels: Maximum size of an image, in megapixels.
        faces: Maximum number of faces in a photograph.
        upload_s: Time limit of an upload, in seconds.
        request_s: Time limit of an image, in seconds.
        keep_s: How long images and results are kept, in seconds.
        queue: Images that may wait.
        concurrent: Images at a time.
        runtime: What runs the network; auto takes included models in 8 bits on CPUs, others by the file's suffix.
        precision: Number format of the network.
        trust: Opens .pt2 files, which can run any code; only for files that you trust.
    """

    model: File = "default"
    other: File | None = None
    teacher: File | None = None
    parser: File | None = None
    host: str = "127.0.0.1"
    names: list[str] = field(default_factory=list)
    port: Annotated[int, Range(1, 65535)] | None = None
    browser: bool = True
    upload_mb: Positive = 20
    megapixels: Positive = 50
    faces: Count = 24
    upload_s: Positive = 60
    request_s: Positive = 60
    keep_s: Positive = 600
    queue: Count = 16
    concurrent: Annotated[int, Range(1, 256)] = 2
    runtime: Annotated[str, OneOf("auto", "torch", "onnx", "pt2")] = "auto"
    precision: Annotated[str, OneOf("32", "bf16")] = "32"
    trust: bool = False


SCHEMAS: Final = {
    "train": TrainConfig, "evaluate": EvaluateConfig, "report": ReportConfig, "sweep": SweepConfig,
    "info": InfoConfig, "prepare": PrepareConfig, "predict": PredictConfig, "export": ExportConfig, "demo": DemoConfig,
}  # fmt: skip
"""The schema of each verb."""


def register_schema(verb: str) -> None:
    """Registers the schema of a verb with Hydra; the first default of the verb's file names it."""
    store = ConfigStore.instance()
    # For `--help` Hydra deep-copies the whole store once per group, which takes two seconds. There is one store per
    # process and its `load` returns copies, so the store itself need not be copied.
    setattr(ConfigStore, "__deepcopy__", lambda self, memo: self)  # noqa: B010  # the class does not declare it
    if verb in SCHEMAS and f"{verb}_schema.yaml" not in store.repo:
        store.store(name=f"{verb}_schema", node=_opened(SCHEMAS[verb]))


def _opened(schema: type) -> DictConfig:
    """Returns a schema that accepts new keys in mappings of names, as in `models.student=runs/a`."""
    node: DictConfig = OmegaConf.structured(schema)
    for mapping in ("models", "data.test_stores", "module.features", "teacher.features"):
        if OmegaConf.is_dict(OmegaConf.select(node, mapping)):
            OmegaConf.set_struct(OmegaConf.select(node, mapping), False)
    return node
