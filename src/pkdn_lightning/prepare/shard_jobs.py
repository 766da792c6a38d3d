"""The shards of a store as jobs of one command, `shards=n`, on any of Hydra's launchers; afterwards they are joined.

Launchers report failures in different ways, so a job records its error in a file, and the command reads which shards
are there.
"""

import sys
import traceback
from pathlib import Path
from typing import Any, ClassVar

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from pkdn_lightning.config.resolvers import register_resolvers
from pkdn_lightning.config.verb import fail
from pkdn_lightning.console import console
from pkdn_lightning.data.store import FaceStore
from pkdn_lightning.errors import PKDNError, describe
from pkdn_lightning.files import write_text
from pkdn_lightning.prepare.pipeline import build_job
from pkdn_lightning.prepare.sharding import Shard, join, prepare_shard
from pkdn_lightning.prepare.store_writer import refuse_existing

# Launchers start new processes, which compose again: loading this callback registers the resolvers there.
register_resolvers()


class ShardSession(Callback):
    """Notes the store whose shards are made.

    Attributes:
        latest: The store's path, and the number of shards, of the last command of this process; None without.
    """

    latest: ClassVar[tuple[Path, int] | None] = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuses what would fail after all shards are made, and removes the errors of an earlier command."""
        path, shards = Path(config.out or config.data.store), int(config.shards)
        try:
            refuse_existing(path)
        except PKDNError as error:
            fail(describe(error))  # Hydra would make a warning of the exception and go on
        for number in range(1, shards + 1):
            _error_file(path, Shard(number, shards)).unlink(missing_ok=True)
        ShardSession.latest = path, shards


def run_shard(cfg: DictConfig) -> None:
    """Makes the shard that `cfg.shard` names, or continues it; an error is recorded, not raised."""
    path, shard = Path(cfg.out or cfg.data.store), Shard.parse(cfg.shard)
    try:
        job = build_job(cfg.data, cfg.parser, cfg.landmarks, check_maps=cfg.check_maps)
        console.print(f"Shard {prepare_shard(job, path, shard, workers=cfg.workers)}.")
    except Exception as error:
        if not isinstance(error, PKDNError):
            traceback.print_exc()
        sys.stderr.write(f"shard={shard.number}/{shard.total}: {describe(error)}\n")
        write_text(_error_file(path, shard), describe(error))


def join_session() -> FaceStore | None:
    """Joins the shards that the command of this process made; None if it made none.

    Ends the program with the errors of shards that are missing.
    """
    if ShardSession.latest is None:
        return None
    path, total = ShardSession.latest
    shards = [Shard(number, total) for number in range(1, total + 1)]
    if missing := [each for each in shards if not each.path(path).is_dir()]:
        errors = []
        for each in missing:
            file = _error_file(path, each)
            why = file.read_text(encoding="utf-8") if file.is_file() else "it was stopped, and its log says why"
            errors.append(f"shard={each.number}/{total}: {why}")
        fail(
            "\n".join(errors)
            + f"\n{len(missing)} of {total} shards were not made. The same command continues them and keeps the others."
        )
    return join(path)


def _error_file(store: Path, shard: Shard) -> Path:
    made = shard.path(store)
    return made.with_name(f"{made.name}.error.txt")
