"""The batches of a store: which faces a batch holds, how they are read, and how they become the networks' input.

The host only indexes the memory-mapped 8-bit arrays. Everything else (conversion to float, flips, LR, the parsing
encoding) runs on the device, in `prepare_batch`. All random numbers are drawn by the batch sampler and depend only on
the seed and the batch's number, so a resumed run sees the same batches as an uninterrupted one.
"""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple, NotRequired, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, SequentialSampler

from pkdn_lightning.data.augmentation import Augmentation, view_faces, view_landmarks, view_parsing
from pkdn_lightning.data.blind import Blind
from pkdn_lightning.data.degradation import degrade
from pkdn_lightning.data.heatmaps import Heatmaps, component_heatmaps, landmark_heatmaps, mirror_landmarks
from pkdn_lightning.data.labels import Damage, Encoding
from pkdn_lightning.data.lr_cache import LRCache
from pkdn_lightning.data.parsing import blur, damage, encode, mirror
from pkdn_lightning.data.store import FaceStore, check_labels


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
        lr: Gives `lr`, (B, 3, h, w) uint8, too; None leaves it to `prepare_batch`.
        teacher_faces: The teacher's faces of the training rows, (N, V, 3, S, S) float16: as they are and mirrored.
    """

    def __init__(
        self,
        store: FaceStore,
        *,
        resident: bool = False,
        lr: LRCache | None = None,
        teacher_faces: NDArray[np.float16] | None = None,
    ) -> None:
        self.store, self.resident, self.lr, self.teacher_faces = store, resident, lr, teacher_faces
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
            if self.lr is not None:
                batch["lr"] = self.lr.of(plan.row, faces["hr"])
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
            float32, `lr` (B, 3, S / scale, S / scale) uint8, not mirrored and made from `hr` if absent, `teacher_sr`
            (B, 3, S, S) float16, `mirrored` and `mapless` (B,) bool, `view` (B, 7) float32 and what was drawn for the
            degradation; see `Plan`.
        scale: Reduction from HR to LR.
        degradation: `pil`, `matlab`, `blind`, `blind2` or your own function, see `data.degradation.degrade`.
        encoding: See `data.parsing.encode`.
        heatmaps: `landmarks`, `components` (from the parsing map) or `none`; see `data.heatmaps`.
        heatmap_px: Side of the heatmaps.
        parsing_damage: See `data.parsing.damage`; heatmaps are computed from the undamaged map.
        parsing_damage_px: Size of the damage in pixels.
    """
    mirrored, view = raw.get("mirrored"), raw.get("view")
    hr = raw["hr"] if mirrored is None else _mirrored_where(mirrored, raw["hr"], lambda part: part.flip(-2))
    images = hr.permute(0, 3, 1, 2)  # (B, S, S, 3) -> (B, 3, S, S), channels last in memory
    if view is not None:
        images = view_faces(images, view)
    if "lr" not in raw:
        lr = degrade(images, scale, degradation, raw)
    else:
        lr = (raw["lr"] if mirrored is None else _mirrored_where(mirrored, raw["lr"], lambda part: part.flip(-1))) / 255
    batch: Batch = {"lr": lr, "hr": images.float().div_(255), "row": raw["row"]}
    if "teacher_sr" in raw:
        batch["teacher_sr"] = raw["teacher_sr"].float()
    if "parsing" in raw:
        batch["parsing"] = prepare_parsing(raw, encoding, parsing_damage, parsing_damage_px)
        if heatmaps == "components":
            batch["heatmaps"] = component_heatmaps(_augment_parsing(raw["parsing"], mirrored, view), heatmap_px)
    if heatmaps == "landmarks" and "landmarks" in raw:  # test sets may lack landmarks
        points, size_px = raw["landmarks"], images.shape[-1]
        if mirrored is not None:
            points = _mirrored_where(mirrored, points, lambda part: mirror_landmarks(part, size_px))
        if view is not None:
            points = view_landmarks(points, view, size_px)
        batch["heatmaps"] = landmark_heatmaps(points, size_px, heatmap_px)
    return batch


def prepare_parsing(raw: Mapping[str, Tensor], encoding: Encoding, kind: Damage = "none", px: int = 8) -> Tensor:
    """Returns the parsing maps of a batch, (B, C, S, S) float32.

    Args:
        raw: `parsing`, `row` and what changes maps; see `prepare_batch`.
        encoding: See `data.parsing.encode`.
        kind: See `data.parsing.damage`.
        px: Size of the damage in pixels.
    """
    damaged = damage(raw["parsing"], kind, raw["row"], px)
    if "mapless" in raw:
        damaged = damaged.masked_fill(raw["mapless"].view(-1, 1, 1), 0)
    encoded = encode(_augment_parsing(damaged, raw.get("mirrored"), raw.get("view")), encoding)
    return blur(encoded, px) if kind == "blurred" else encoded


def _augment_parsing(parsing: Tensor, mirrored: Tensor | None, view: Tensor | None) -> Tensor:
    """Returns label maps under the flips and views of the faces."""
    if mirrored is not None:
        parsing = _mirrored_where(mirrored, parsing, mirror)
    return parsing if view is None else view_parsing(parsing, view)


def _mirrored_where(mirrored: Tensor, faces: Tensor, mirror: Callable[[Tensor], Tensor]) -> Tensor:
    """Returns faces (B, ...), those in `mirrored` (B,) as `mirror` returns them.

    On a CPU only they are computed, and put in their places as whole faces, which is faster than by an index of their
    values; an accelerator would have to tell the host first which they are.
    """
    if faces.device.type != "cpu":
        return torch.where(mirrored.view(-1, *[1] * (faces.dim() - 1)), mirror(faces), faces)
    chosen, parts = mirrored.nonzero().flatten(), list(faces.unbind())
    for place, face in zip(chosen.tolist(), mirror(faces.index_select(0, chosen)).unbind(), strict=True):
        parts[place] = face
    return torch.stack(parts)
