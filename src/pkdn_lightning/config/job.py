"""What `prepare` is to make, from its configuration. Apart from `build`, so that preparing needs no Lightning."""

from collections.abc import Mapping
from typing import Any

from pkdn_lightning.config.instances import make
from pkdn_lightning.config.schema import DataConfig
from pkdn_lightning.preparation.pipeline import Job


def build_job(
    data: DataConfig, parser: Mapping[str, Any] | None = None, landmarks: Mapping[str, Any] | None = None
) -> Job:
    """Returns what the store of `data` is made from, with a parser and a finder of landmarks, or none."""
    return Job(
        make(data.source, "data.source"),
        data.name,
        make(parser, "parser") if parser else None,
        make(landmarks, "landmarks") if landmarks else None,
    )
