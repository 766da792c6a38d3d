"""The DataModule: training, validation and test batches of stores (see `data.batches`)."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from pkdn_lightning.data.augmentation import Augmentation
from pkdn_lightning.data.batches import (
    Batch,
    OrderedBatchSampler,
    Plan,
    ShuffledBatchSampler,
    StoreDataset,
    fixed_plan,
    prepare_batch,
)
from pkdn_lightning.data.blind import Blind, make_blind
from pkdn_lightning.data.heatmaps import Heatmaps
from pkdn_lightning.data.labels import Damage, Encoding
from pkdn_lightning.data.lr_cache import LRCache
from pkdn_lightning.data.store import FaceStore, check_labels
from pkdn_lightning.data.strengths import ROUNDS, Strengths
from pkdn_lightning.errors import ConfigError, DataError
from pkdn_lightning.values import Degradation


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
        self._lr_caches: dict[Path, LRCache] = {}

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
        lr = None if self.augmentation else self._lr_cache(self.store)
        dataset = StoreDataset(self.store, resident=self.resident, lr=lr, teacher_faces=self.teacher_faces)
        return self._loader(dataset, plans)

    def val_dataloader(self) -> DataLoader[Any]:
        """Returns ordered batches of `val`."""
        return self._ordered(self.store, "val", self.eval_batch_size)

    def test_dataloader(self) -> list[DataLoader[Any]]:
        """Returns ordered batches of `test`, one loader per store in `test_stores`."""
        return [self._ordered(store, "test", self.eval_batch_size) for store in self.test_stores.values()]

    def predict_dataloader(self) -> list[DataLoader[Any]]:
        """Returns the loaders of `test_dataloader`: `Trainer.predict` returns their restored faces, (B, 3, H, W)."""
        return self.test_dataloader()

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
        return self._loader(StoreDataset(store, lr=self._lr_cache(store), teacher_faces=faces), plans)

    def _lr_cache(self, store: FaceStore) -> LRCache | None:
        """Returns where LR of a store is kept; None on an accelerator, or if it has to be made for each batch."""
        on_gpu = torch.cuda.is_available() if self.trainer is None else self.trainer.strategy.root_device.type != "cpu"
        if on_gpu or not LRCache.fits(store, self.scale, self._degradation):
            return None
        return self._lr_caches.setdefault(store.path, LRCache(store, self.scale))

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
