"""Values that configurations compute: `${name:arguments}`."""

from pathlib import Path

from omegaconf import OmegaConf


def run_folder(run_dir: str | None, resume: str | None, runs: str, experiment: str, now: str) -> str:
    """Returns where a run writes: where it is told to, where it left off, or a new dated folder."""
    return run_dir or resume or str(Path(runs) / experiment / now)


def parsing_channels(encoding: str) -> int:
    """Returns how many channels an encoded parsing map has."""
    from pkdn_lightning.data.parsing import encoding_channels

    return encoding_channels(encoding)  # type: ignore[arg-type]  # the DataModule checks the name


def register_resolvers() -> None:
    """Makes the resolvers known to OmegaConf."""
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
    OmegaConf.register_new_resolver("parsing_channels", parsing_channels, replace=True)
