"""The verb `prepare`: makes a store of a published data set or of photographs; joins shards; verifies a store.

pkdn prepare data=celeba data.source.path=~/Downloads/celeba parser=bisenet parser.weights=79999_iter.pth
pkdn prepare data=photos data.source.path=~/photos data.name=mine dry_run=true
pkdn prepare data=celeba ... shards=8 launch=slurm    eight jobs, then one store
pkdn prepare data=celeba ... shard=1/8          one of eight machines; afterwards: pkdn prepare join=stores/celeba
pkdn prepare verify=stores/mine
"""

import csv
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from pkdn_lightning.config.verb import run_verb
from pkdn_lightning.console import console, counted
from pkdn_lightning.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pkdn_lightning.data.store import FaceStore
    from pkdn_lightning.prepare.pipeline import Job


def prepare(cfg: "DictConfig") -> "FaceStore | None":
    """Makes, joins or verifies a store and returns it; None after a dry run or a shard.

    Args:
        cfg: A configuration as `compose("prepare", ...)` returns it.

    Raises:
        DataError: If nothing can be made of the source, or a store is damaged; the message says what to do.
    """
    from pkdn_lightning.data.store import FaceStore, verify_store
    from pkdn_lightning.errors import DataError
    from pkdn_lightning.prepare.pipeline import build_job, prepare_store
    from pkdn_lightning.prepare.sharding import Shard, join, prepare_shard

    if cfg.verify:
        verify_store(cfg.verify)
        store = FaceStore.open(cfg.verify)
        console.print(f"{cfg.verify} is whole: {_describe(store)}.")
        return store
    if cfg.join:
        store = join(Path(cfg.join))
        _report(store)
        return store
    job, path = (
        build_job(cfg.data, cfg.parser, cfg.landmarks, check_maps=cfg.check_maps),
        Path(cfg.out or cfg.data.store),
    )
    if getattr(job.source, "ready", None) is not None:
        console.print(
            f"{cfg.data.source.path} has <split>/images: its faces are taken as they are, not cropped or split."
        )
    if cfg.dry_run:
        _print_plan(job, path)
        return None
    if cfg.shards:
        for number in range(1, cfg.shards + 1):
            prepare_shard(job, path, Shard(number, cfg.shards), workers=cfg.workers)
        store = join(path)
        _report(store)
        return store
    if cfg.shard:
        made = prepare_shard(job, path, Shard.parse(cfg.shard), workers=cfg.workers)
        console.print(f"Shard {made}. When all are there: pkdn prepare join={path}")
        return None
    try:
        store = prepare_store(job, path, workers=cfg.workers)
    except KeyboardInterrupt:
        raise DataError(f"Stopped by the keyboard. The same command continues with {path}.partial.") from None
    _report(store)
    return store


def _print_plan(job: "Job", path: Path) -> None:
    from pkdn_lightning.prepare.raw_files import Pending

    console.print("A dry run: nothing is written.")
    try:
        candidates = job.source.candidates(dry=True)
    except Pending as step:
        console.print(f"First: {step}. The photographs are known after that.")
        return
    counts, quotas = Counter(candidate.entry.split for candidate in candidates), job.source.quotas()
    for split, count in counts.items():
        wanted = f"{quotas[split]:,} faces wanted of" if split in quotas else "all of"
        people = len({c.entry.identity for c in candidates if c.entry.split == split} - {""})
        console.print(f"{split}: {wanted} {count:,} photographs{f', {people:,} known identities' if people else ''}")
    faces = sum(min(count, quotas.get(split, count)) for split, count in counts.items())
    for key, value in job.provenance().items():
        console.print(f"{key.replace('_', ' ')}: {value}")
    per_face = job.source.size_px**2 * (4 if job.parser or job.source.with_parsing else 3)
    there = "exists already and would be kept" if path.exists() else f"about {faces * per_face / 1e6:,.0f} MB"
    console.print(f"Store: {path}, {there}")


def _report(store: "FaceStore") -> None:
    console.print(f"Store {store.path}: {_describe(store)}.")
    if rejected := store.manifest.get("rejected"):
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in rejected.items())
        console.print(
            f"Rejected: {counted(sum(rejected.values()), 'photograph')} ({reasons}). See {store.path}/rejects.csv"
        )
    wanted = store.manifest["provenance"].get("faces_wanted")
    total = sum(store.manifest["splits"].values())
    for split, count in wanted.items() if isinstance(wanted, dict) else ():
        if isinstance(count, int) and (found := store.manifest["splits"][split]) < count:
            hint = (
                " data.source.train=<number> lets it take more than a tenth of all."
                if wanted.get("train") == "all" and found < total / 10
                else ""
            )
            console.print(
                f"{split} has {found:,} of the {count:,} faces wanted: no more photographs were set aside for it.{hint}"
            )
    with (store.path / "duplicates.csv").open(newline="", encoding="utf-8") as file:
        across = [row for row in csv.DictReader(file) if row["split"] != row["other_split"]]
    if across:
        first = "{split}/{name} and {other_split}/{other_name}".format(**across[0])
        console.print(
            f"In two splits: {counted(len(across), 'image')}, the first {first}. See {store.path}/duplicates.csv"
        )
    if not store.manifest["splits"]["train"]:
        as_test = f"data.test_stores.{store.path.name}={store.path}"
        console.print(f"It has no faces for training, so it serves for tests: {as_test}")
    elif store.parsing is None:
        console.print("It has no parsing maps, so it trains students without a teacher: objective=reconstruction.")
        console.print("Maps are made by parser=bisenet parser.weights=<file>")
    console.print(f"See {store.path}/card.md and the contact sheets beside it.")


def _describe(store: "FaceStore") -> str:
    counts = ", ".join(f"{split} {count:,}" for split, count in store.manifest["splits"].items())
    maps = "with" if store.parsing is not None else "without"
    return f"{counts} faces of {store.size_px} px {maps} parsing maps, SHA-256 {store.sha256[:12]}"


def main() -> None:
    """Runs the verb from the command line."""
    # Shells do not expand the ~ in `data.source.path=~/x`, and Hydra's grammar does not allow it.
    run_verb("prepare", _task)
    # The jobs of shards=n, if this command had some, have ended.
    jobs = sys.modules.get("pkdn_lightning.prepare.shard_jobs")
    if jobs is not None and (store := jobs.join_session()) is not None:
        _report(store)


def _task(cfg: "DictConfig") -> "FaceStore | None":
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        from pkdn_lightning.prepare.shard_jobs import run_shard

        run_shard(cfg)
        return None
    if (launch := hydra.runtime.choices.get("launch")) is not None:
        raise ConfigError(f"launch={launch} runs the shards of a store as jobs. Say how many: shards=8 launch={launch}")
    return prepare(cfg)
