"""Paired LR, HR and parsing data for training: from a store on disk to a `Batch` on the device.

The host only indexes the memory-mapped 8-bit arrays. Everything else (conversion to float, flips, LR, the parsing
encoding) runs on the device, in `on_after_batch_transfer`. All random numbers are drawn by the batch sampler and depend
only on the seed and the batch's number, so a resumed run sees the same batches as an uninterrupted one.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, NotRequired, TypedDict

import lightning.pytorch as lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, SequentialSampler

from pkdn_lightning.data.augmentation import Augmentation, view_faces, view_landmarks, view_parsing
from pkdn_lightning.data.blind import Blind, make_blind
from pkdn_lightning.data.degradation import degrade
from pkdn_lightning.data.heatmaps import Heatmaps, component_heatmaps, landmark_heatmaps, mirror_landmarks
from pkdn_lightning.data.labels import Damage, Encoding
from pkdn_lightning.data.parsing import blur, damage, encode, mirror
from pkdn_lightning.data.store import FaceStore, check_labels
from pkdn_lightning.data.strengths import ROUNDS, Strengths
from pkdn_lightning.errors import ConfigError, DataError
from pkdn_lightning.values import Degradation


class Batch(TypedDict):
    """The input of the training modules. All tensors are on the device.

    Keys:
        lr: (B, 3, H / scale, W / scale) float32 in [0, 1], values k/255.
        hr: (B, 3, H, W) float32 in [0, 1].
        parsing: (B, C, H, W) float32 in [0, 1], encoded; absent if the store has no maps.
        heatmaps: (B, K, h, w) float32 in [0, 1]; absent if data.heatmaps=none.
        row: (B,) int64, the faces' rows in the store.
        teacher_sr: (B, 3, H, W) float32, the teacher's faces, not clamped; present if they were computed before.
    """

    lr: Tensor
    hr: Tensor
    parsing: NotRequired[Tensor]
    heatmaps: NotRequired[Tensor]
    row: Tensor
    teacher_sr: NotRequired[Tensor]


class Plan(NamedTuple):
    """The faces of one batch, their augmentation and their degradation.

    Attributes:
        row: Rows in the store, (B,).
        mirrored: Whether each face is mirrored, (B,).
        view: Augmentation of each face, (B, 7), see `data.augmentation`; None for none.
        drawn: Parameters of each face's blind degradation by name, (B, ...), see `data.blind`; empty for bicubic.
        mapless: Whether each face's parsing map is replaced by an empty one, (B,); None for none.
    """

    row: NDArray[np.int64]
    mirrored: NDArray[np.bool_]
    view: NDArray[np.float32] | None = None
    drawn: Mapping[str, NDArray[np.float32]] = MappingProxyType({})
    mapless: NDArray[np.bool_] | None = None


class ShuffledBatchSampler:
    """Batch sampler of training: an endless sequence of shuffled passes over the data; each iteration is one pass.

    Batch `b` of the sequence depends on the seed and `b` only. A pass visits each face at most once and drops the last
    incomplete batch.

    Args:
        rows: Rows to sample.
        batch_size: Faces per batch and process.
        seed: Seed of order, flips, augmentation and degradation.
        flip_probability: Probability that a face is mirrored.
        augmentation: Ranges of the augmentation; None for none.
        blind: Draws the parameters of the degradation; None for bicubic.
        parsing_dropout: Probability that a face's parsing map is empty.
        batches_seen: Returns the number of batches consumed so far; called at the start of each iteration.
        rank: Rank of this process.
        world_size: Number of processes; each takes its part of every global batch.
    """

    def __init__(
        self,
        rows: NDArray[np.int64],
        batch_size: int,
        *,
        seed: int = 0,
        flip_probability: float = 0.0,
        augmentation: Augmentation | None = None,
        blind: Blind | None = None,
        parsing_dropout: float = 0.0,
        batches_seen: Callable[[], int] = lambda: 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        # A store smaller than a global batch still trains, with smaller batches.
        self.batch_size = max(1, min(batch_size, len(rows) // world_size))
        self.rows, self.seed = rows, seed
        self.flip_probability, self.augmentation = flip_probability, augmentation or Augmentation()
        self.blind, self.parsing_dropout = blind, parsing_dropout
        self.batches_seen, self.rank, self.world_size = batches_seen, rank, world_size

    def __len__(self) -> int:
        return len(self.rows) // (self.batch_size * self.world_size)

    def __iter__(self) -> Iterator[Plan]:
        first = self.batches_seen()
        order = None
        for number in range(first, first + len(self)):
            epoch, position = divmod(number, len(self))
            if order is None or position == 0:
                order = np.random.default_rng([self.seed, epoch]).permutation(len(self.rows))
            start = (position * self.world_size + self.rank) * self.batch_size
            chosen = self.rows[order[start : start + self.batch_size]]
            generator = np.random.default_rng([self.seed, epoch, position, self.rank])
            mirrored = generator.random(len(chosen)) < self.flip_probability
            view = self.augmentation.draw(len(chosen), generator) if self.augmentation else None
            drawn = self.blind.draw(len(chosen), generator) if self.blind else {}
            # Drawn last: trainings with and without dropout see the same faces in the same views.
            mapless = generator.random(len(chosen)) < self.parsing_dropout if self.parsing_dropout else None
            yield Plan(chosen, mirrored, view, drawn, mapless)


class OrderedBatchSampler(SequentialSampler):
    """Batch sampler of evaluation: every row once, in order, split among processes without padding.

    The degradation of a face depends on its row only, so that results compare.

    It derives from `SequentialSampler` because Lightning replaces other samplers under `overfit_batches`.

    Args:
        rows: Rows to visit.
        batch_size: Faces per batch and process.
        blind: Draws the parameters of the degradation; None for bicubic.
        rank: Rank of this process.
        world_size: Number of processes.
    """

    def __init__(
        self,
        rows: NDArray[np.int64],
        batch_size: int,
        *,
        blind: Blind | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.rows, self.batch_size, self.blind = rows[rank::world_size], batch_size, blind

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[Plan]:  # type: ignore[override]  # a plan is a batch of indices
        for start in range(0, len(self.rows), self.batch_size):
            yield fixed_plan(self.rows[start : start + self.batch_size], self.blind)


def fixed_plan(rows: NDArray[np.int64], blind: Blind | None = None) -> Plan:
    """Returns the plan of an evaluation for some rows of a store."""
    return Plan(rows, np.zeros(len(rows), dtype=np.bool_), None, blind.draw_fixed(rows) if blind else {})


class StoreDataset(Dataset[dict[str, Tensor]]):
    """Reads whole batches from a store.

    Args:
        store: The store.
        resident: Returns rows without faces, which are on the device already.
        teacher_faces: The teacher's faces of the training rows, (N, V, 3, S, S) float16: as they are and mirrored.
    """

    def __init__(
        self, store: FaceStore, *, resident: bool = False, teacher_faces: NDArray[np.float16] | None = None
    ) -> None:
        self.store, self.resident, self.teacher_faces = store, resident, teacher_faces
        self._teacher_rows = None if teacher_faces is None else store.indices("train")

    def __getitem__(self, plan: Plan) -> dict[str, Tensor]:
        batch = {"row": torch.from_numpy(plan.row)}
        if plan.mirrored.any():  # omitted otherwise: flipping costs as much as everything else together
            batch["mirrored"] = torch.from_numpy(plan.mirrored)
        if plan.view is not None:
            batch["view"] = torch.from_numpy(plan.view)
        if plan.mapless is not None:
            batch["mapless"] = torch.from_numpy(plan.mapless)
        batch |= {name: torch.from_numpy(array) for name, array in plan.drawn.items()}
        if self.teacher_faces is not None and self._teacher_rows is not None:
            places = np.searchsorted(self._teacher_rows, plan.row)
            batch["teacher_sr"] = torch.from_numpy(self.teacher_faces[places, plan.mirrored.astype(np.int64)])
        if not self.resident:
            faces = {name: array[plan.row] for name, array in self.store.arrays.items()}
            if "parsing" in faces:  # a store may be opened without verification
                check_labels(faces["parsing"], self.store.path / "parsing.npy")
            batch |= {name: torch.from_numpy(array) for name, array in faces.items()}
        return batch


def prepare_batch(
    raw: Mapping[str, Tensor],
    *,
    scale: int,
    degradation: str,
    encoding: Encoding,
    heatmaps: Heatmaps = "none",
    heatmap_px: int = 32,
    parsing_damage: Damage = "none",
    parsing_damage_px: int = 8,
) -> Batch:
    """Returns the `Batch` of raw store arrays, computed on their device.

    Args:
        raw: `hr` (B, S, S, 3) uint8, `row` (B,), and optionally `parsing` (B, S, S) uint8, `landmarks` (B, 68, 2)
            float32, `teacher_sr` (B, 3, S, S) float16, `mirrored` and `mapless` (B,) bool, `view` (B, 7) float32 and
            what was drawn for the degradation; see `Plan`.
        scale: Reduction from HR to LR.
        degradation: `pil`, `matlab`, `blind`, `blind2` or your own function, see `data.degradation.degrade`.
        encoding: See `data.parsing.encode`.
        heatmaps: `landmarks`, `components` (from the parsing map) or `none`; see `data.heatmaps`.
        heatmap_px: Side of the heatmaps.
        parsing_damage: See `data.parsing.damage`; heatmaps are computed from the undamaged map.
        parsing_damage_px: Size of the damage in pixels.
    """
    mirrored, view = raw["mirrored"].view(-1, 1, 1) if "mirrored" in raw else None, raw.get("view")
    images = raw["hr"].permute(0, 3, 1, 2)  # (B, S, S, 3) -> (B, 3, S, S), channels last in memory
    if mirrored is not None:
        images = torch.where(mirrored.unsqueeze(1), images.flip(-1), images)
    if view is not None:
        images = view_faces(images, view)
    batch: Batch = {"lr": degrade(images, scale, degradation, raw), "hr": images / 255, "row": raw["row"]}
    if "teacher_sr" in raw:
        batch["teacher_sr"] = raw["teacher_sr"].float()
    if "parsing" in raw:
        damaged = damage(raw["parsing"], parsing_damage, raw["row"], parsing_damage_px)
        if "mapless" in raw:
            damaged = damaged.masked_fill(raw["mapless"].view(-1, 1, 1), 0)
        encoded = encode(_augment_parsing(damaged, mirrored, view), encoding)
        batch["parsing"] = blur(encoded, parsing_damage_px) if parsing_damage == "blurred" else encoded
        if heatmaps == "components":
            batch["heatmaps"] = component_heatmaps(_augment_parsing(raw["parsing"], mirrored, view), heatmap_px)
    if heatmaps == "landmarks" and "landmarks" in raw:  # test sets may lack landmarks
        points, size_px = raw["landmarks"], images.shape[-1]
        if mirrored is not None:
            points = torch.where(mirrored, mirror_landmarks(points, size_px), points)
        if view is not None:
            points = view_landmarks(points, view, size_px)
        batch["heatmaps"] = landmark_heatmaps(points, size_px, heatmap_px)
    return batch


def _augment_parsing(parsing: Tensor, mirrored: Tensor | None, view: Tensor | None) -> Tensor:
    """Returns label maps under the flips and views of the faces."""
    if mirrored is not None:
        parsing = torch.where(mirrored, mirror(parsing), parsing)
    return parsing if view is None else view_parsing(parsing, view)


class FaceSRDataModule(lightning.LightningDataModule):
    """The training and validation splits of one store, and the test splits of one or more stores.

    Args:
        store: Folder of the store for training and validation.
        test_stores: Folders of the test stores by their names in results (`test/<name>/psnr_y`). None tests on
            `store` under its own name.
        scale: Reduction from HR to LR: 4, 8 or 16.
        degradation: `pil`, `matlab`, `blind`, `blind2` or your own function, see `data.degradation.degrade`.
        blind: Strengths of `blind` and `blind2`: arguments of `data.strengths.Strengths`.
        encoding: Encoding of the parsing maps, see `data.parsing.encode`.
        batch_size: Training faces per step and process.
        eval_batch_size: Validation and test faces per step and process.
        flip_probability: Probability that a training face is mirrored, with left and right labels swapped.
        augmentation: Augmentation of training faces: arguments of `data.augmentation.Augmentation`.
        heatmaps: Prior that DIC and FSRNet learn to estimate: `landmarks` (needs a store with landmarks),
            `components` (from the parsing maps), `none`.
        heatmap_px: Side of the heatmaps.
        parsing_damage: Degrades the parsing maps, to study how accurate a prior has to be: `none`, `shuffled`,
            `displaced`, `blurred`, `other`, `empty`; see `data.parsing.damage` and `blur`.
        parsing_damage_px: Length of the displacement or side of the blur.
        parsing_dropout: Probability that a training face's parsing map is empty; evaluations keep all maps.
        seed: Seed of order, flips, augmentation and degradation.
        require_parsing: Rejects stores without parsing maps.
        needed_by: The component that reads the priors, for error messages.
        verify: Verifies the stores' hashes when they are opened (once; see `FaceStore.open`).
        resident: Keeps the training store's 8-bit faces on the accelerator.
        num_workers: Loader processes; reading a batch is one indexing operation and rarely needs any.

    Attributes:
        teacher_faces: See `StoreDataset`; with them, batches of `train` hold `teacher_sr`.

    Raises:
        ConfigError: If a value cannot be used.
    """

    def __init__(
        self,
        store: str | Path,
        *,
        test_stores: Mapping[str, str | Path] | None = None,
        scale: int = 8,
        degradation: Degradation = "pil",
        blind: Mapping[str, Any] | None = None,
        encoding: Encoding = "colour",
        batch_size: int = 8,
        eval_batch_size: int = 32,
        flip_probability: float = 0.0,
        augmentation: Mapping[str, float] | None = None,
        heatmaps: Heatmaps = "none",
        heatmap_px: int = 32,
        parsing_damage: Damage = "none",
        parsing_damage_px: int = 8,
        parsing_dropout: float = 0.0,
        seed: int = 0,
        require_parsing: bool = False,
        needed_by: str = "the network",
        verify: bool = True,
        resident: bool | None = False,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        if min(batch_size, eval_batch_size) < 1:
            raise ConfigError(
                f"data.batch_size={batch_size} and data.eval_batch_size={eval_batch_size} have to be 1 or more."
            )
        for name, value in (("flip_probability", flip_probability), ("parsing_dropout", parsing_dropout)):
            if not 0 <= value <= 1:
                raise ConfigError(f"data.{name}={value} is not a probability: give 0 to 1.")
        if parsing_damage_px < 1:
            raise ConfigError(f"data.parsing_damage_px={parsing_damage_px} has to be 1 or more.")
        self.store_path, self.test_paths = store, dict(test_stores or {})
        self.scale, self.seed = scale, seed
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.flip_probability, self.augmentation = flip_probability, Augmentation(**(augmentation or {}))
        self.parsing_dropout, self.require_parsing = parsing_dropout, require_parsing
        self.heatmaps, self.needed_by = heatmaps, needed_by
        self.verify, self.resident, self.num_workers = verify, bool(resident), num_workers
        self._prepare_batch = partial(
            prepare_batch,
            scale=scale,
            degradation=degradation,
            encoding=encoding,
            heatmaps=heatmaps,
            heatmap_px=heatmap_px,
            parsing_damage=parsing_damage,
            parsing_damage_px=parsing_damage_px,
        )
        self._degradation, self._strengths = degradation, asdict(Strengths.of(blind))
        self._input: dict[str, Any] = {"encoding": encoding, "degradation": degradation}
        if degradation in ROUNDS:  # recorded only where they have an effect
            self._input["blind"] = self._strengths
        if parsing_damage != "none":  # recorded only where maps are damaged
            self._input |= {"parsing_damage": parsing_damage, "parsing_damage_px": parsing_damage_px}
        self.teacher_faces: NDArray[np.float16] | None = None
        self._store: FaceStore | None = None
        self._test_stores: dict[str, FaceStore] | None = None
        self._resident_faces: dict[str, Tensor] = {}

    @property
    def store(self) -> FaceStore:
        """The store for training and validation; opened on first use."""
        if self._store is None:
            self._store = self._open(self.store_path)
            self._check_priors(self._store)
        return self._store

    @property
    def test_stores(self) -> Mapping[str, FaceStore]:
        """The test stores by name; opened on first use."""
        if self._test_stores is None:
            stores = {name: self._open(path) for name, path in self.test_paths.items()}
            self._test_stores = stores or {self.store.name: self.store}
        return self._test_stores

    @property
    def card(self) -> dict[str, Any]:
        """What the card in a checkpoint says of the data; see `models.card`."""
        data = {"name": self.store.name, "sha256": self.store.sha256}
        return {**self._input, "data": data, "size_px": self.store.size_px}

    def train_dataloader(self) -> DataLoader[Any]:
        """Returns shuffled batches of `train`, resuming after those the run has consumed.

        With `trainer.overfit_batches` the batches are ordered, so that every epoch has the same ones.
        """
        if self.trainer is not None and self.trainer.overfit_batches:  # type: ignore[attr-defined]  # set by a connector
            return self._ordered(self.store, "train", self.batch_size)
        plans = ShuffledBatchSampler(
            self.store.indices("train"),
            self.batch_size,
            seed=self.seed,
            flip_probability=self.flip_probability,
            augmentation=self.augmentation,
            blind=self._blind(self.store),
            parsing_dropout=self.parsing_dropout,
            batches_seen=self._batches_seen,
            **self._process(),
        )
        dataset = StoreDataset(self.store, resident=self.resident, teacher_faces=self.teacher_faces)
        return self._loader(dataset, plans)

    def val_dataloader(self) -> DataLoader[Any]:
        """Returns ordered batches of `val`."""
        return self._ordered(self.store, "val", self.eval_batch_size)

    def test_dataloader(self) -> list[DataLoader[Any]]:
        """Returns ordered batches of `test`, one loader per store in `test_stores`."""
        return [self._ordered(store, "test", self.eval_batch_size) for store in self.test_stores.values()]

    def on_after_batch_transfer(self, batch: Mapping[str, Tensor], dataloader_idx: int) -> Batch:
        """Computes the batch on the device; see `prepare_batch`."""
        raw = dict(batch)
        if "hr" not in raw:
            raw |= self._gather_resident(raw["row"])
        return self._prepare_batch(raw)

    def preview(self, split: str, count: int) -> Batch:
        """Returns the first faces of a split, on the CPU, for sample grids."""
        rows = self.store.indices(split)[:count]
        return self.batch(fixed_plan(rows, self._blind(self.store)))

    def batch(self, plan: Plan, device: torch.device | str = "cpu") -> Batch:
        """Returns the batch of a plan, computed on a device."""
        return self._prepare_batch({key: value.to(device) for key, value in StoreDataset(self.store)[plan].items()})

    def _blind(self, store: FaceStore) -> Blind | None:
        return make_blind(self._degradation, self._strengths, self.scale, store.size_px)

    def _open(self, path: str | Path) -> FaceStore:
        store = FaceStore.open(path, verify=self.verify)
        if store.size_px % self.scale:
            raise ConfigError(
                f"Faces of {store.size_px} px ({path}) cannot be reduced by scale={self.scale}, which does not divide "
                "their side. Choose another scale."
            )
        if self.require_parsing and store.parsing is None:
            raise DataError(
                f"{path} has no parsing maps, which {self.needed_by} needs. Prepare a store with maps "
                "(parser=bisenet), or train a student without a teacher: objective=reconstruction."
            )
        return store

    def _check_priors(self, store: FaceStore) -> None:
        if self.heatmaps == "landmarks" and store.landmarks is None:
            raise DataError(
                f"{self.store_path} has no landmarks, which {self.needed_by} needs for heatmaps. Prepare a store with "
                "landmarks=dlib, or use heatmaps from the parsing maps: data.heatmaps=components."
            )
        if self.heatmaps == "components" and store.parsing is None:
            raise DataError(
                f"{self.store_path} has no parsing maps, which {self.needed_by} needs for component heatmaps. Prepare "
                "a store with maps: parser=bisenet."
            )

    def _ordered(self, store: FaceStore, split: str, batch_size: int) -> DataLoader[Any]:
        plans = OrderedBatchSampler(store.indices(split), batch_size, blind=self._blind(store), **self._process())
        faces = self.teacher_faces if split == "train" else None
        return self._loader(StoreDataset(store, teacher_faces=faces), plans)

    def _loader(self, dataset: StoreDataset, plans: ShuffledBatchSampler | OrderedBatchSampler) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            sampler=plans,
            batch_size=None,  # a plan is a whole batch
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.num_workers > 0,
            generator=torch.Generator(),  # iterating must not draw from the generator that Dropout draws from
        )

    def _process(self) -> dict[str, int]:
        if self.trainer is None:
            return {"rank": 0, "world_size": 1}
        return {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}

    def _batches_seen(self) -> int:
        """Returns the number of batches consumed, from the loop's progress, which checkpoints restore."""
        if self.trainer is None:
            return 0
        progress: Any = self.trainer.fit_loop.epoch_loop.batch_progress
        return int(progress.total.processed)

    def _gather_resident(self, row: Tensor) -> dict[str, Tensor]:
        if not self._resident_faces:
            if self.store.parsing is not None:
                check_labels(self.store.parsing, self.store.path / "parsing.npy")
            self._resident_faces = {
                name: torch.from_numpy(np.array(array)).to(row.device) for name, array in self.store.arrays.items()
            }
        return {key: faces[row] for key, faces in self._resident_faces.items()}
