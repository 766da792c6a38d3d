"""The Hydra tree: the files in the package's `conf/`, and those in the user's own `conf/` of the current folder."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from pkdn_lightning.config.resolvers import register_resolvers
from pkdn_lightning.config.schema import register_schema
from pkdn_lightning.errors import ConfigError
from pkdn_lightning.trust import conf_dir, own_conf


class OwnConf(SearchPathPlugin):
    """Adds the user's `conf/` behind the package's tree, for compositions of this package only."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Appends the folder, so that no file of it replaces one of the package."""
        ours = ("pkg://pkdn_lightning.conf", str(conf_dir()))  # not inference/, which has no groups
        own = own_conf()
        if own and any(str(each.path).removeprefix("file://") in ours for each in search_path.get_path()):
            search_path.append("own conf", f"file://{own}")


def register(verb: str) -> None:
    """Registers the schema of a verb, the resolvers and the own `conf/` with Hydra."""
    register_resolvers()
    register_schema(verb)
    if OwnConf not in Plugins.instance().discover(SearchPathPlugin):
        Plugins.instance().register(OwnConf)


def options(group: str) -> dict[str, Path]:
    """Returns the files of a group by the names of the options; the user's own come after those of the package."""
    folders = [folder / group for folder in (conf_dir(), own_conf()) if folder]
    files = [file for folder in folders for file in sorted(folder.glob("*.yaml"))]
    return {file.stem: file for file in reversed(files)}


def groups() -> list[str]:
    """Returns the names of the groups."""
    folders = [folder for folder in (conf_dir(), own_conf()) if folder]
    return sorted(
        {path.name for folder in folders for path in folder.iterdir() if path.is_dir() and path.name.isalpha()}
    )


def unread_in_own_conf() -> list[str]:
    """Returns a note on every entry of the user's own `conf/` that looks like one of this package and is not read."""
    own = own_conf()
    if not own:
        return []
    ours = {path.stem: path.is_dir() for path in conf_dir().iterdir() if path.stem.isidentifier()}
    meant = {path: get_close_matches(path.stem, ours, n=1, cutoff=0.8) for path in sorted(own.iterdir())}
    notes = []
    for path, [name] in ((path, names) for path, names in meant.items() if names):
        if path.is_dir() and path.name != name and ours[name]:
            notes.append(f"conf/{path.name}/ is not read: no group has this name. Did you mean conf/{name}/?")
        if path.suffix in (".yaml", ".yml") and path.stem == name and not ours[name]:
            notes.append(f"conf/{path.name} is not read; settings of your own go into conf/experiment/<name>.yaml.")
    return notes


def check_own_names(overrides: Sequence[str]) -> None:
    """Checks that no typed option has a file in both trees.

    Raises:
        ConfigError: If one does: the package's file would be read.
    """
    own = own_conf()
    for override in overrides if own else ():
        group, _, option = override.partition("=")
        file = Path(group, f"{option}.yaml")
        both = own is not None and (own / file).is_file() and (conf_dir() / file).is_file()
        if own and both and (own / file).read_bytes() != (conf_dir() / file).read_bytes():  # equal in another checkout
            raise ConfigError(
                f"{override}: the package has an option of this name, so conf/{file} would not be read. Give the file "
                f"another name, e.g. conf/{group}/my_{option}.yaml, and type {group}=my_{option}."
            )
