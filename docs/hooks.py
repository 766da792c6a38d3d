"""What the site needs besides Markdown.

Pages that lie beside what they describe (`mounted` in mkdocs.yml) become pages of the site. Links are written so that
they work on the files as they lie in the repository; on the site, those that leave it lead to the source. A link to a
file that is not there ends the build. Figures are put into the page, where they take the page's colours. tables.py
fills the pages that show values of the package, which takes seconds; PKDN_DOCS_VALUES=0 leaves them as they are.
"""

import importlib.util
import os
import os.path
import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

LINK_OR_CODE = re.compile(
    r"^```.*?^```$|(?P<before>!?\[[^\]]*\]\()(?P<target>[^)\s]+)(?P<after>\))|`[^`\n]+`", re.MULTILINE | re.DOTALL
)
FILLED = ("deviations.md", "published.md")
FIGURE = re.compile(r"^!\[(?P<alt>[^\]]*)\]\((?P<file>figures/[\w-]+\.svg)\)$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the mounted pages."""
    for uri, path in config.extra["mounted"].items():
        files.append(File.generated(config, uri, abs_src_path=str(_root(config) / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Returns the page with its values filled in, its links turned and its figures inside."""
    root = _root(config)
    source = Path(page.file.abs_src_path)
    if page.file.src_uri in FILLED and os.environ.get("PKDN_DOCS_VALUES") != "0":
        try:
            markdown = _tables(root).FILLED[page.file.src_uri](markdown)
        except ValueError as error:
            raise PluginError(str(error)) from error

    def turn(link: re.Match[str]) -> str:
        target, _, anchor = (link["target"] or "").partition("#")  # none: code
        if not target or "://" in target or target.startswith("mailto:"):
            return link[0]
        file = Path(os.path.normpath(source.parent / target))
        if not file.exists() or not file.is_relative_to(root):
            raise PluginError(f"{source.relative_to(root)} links to {target}, and there is no {file}.")
        address = _address(file, root, page.file.src_uri, config, files)
        return f"{link['before']}{address}{'#' + anchor if anchor else ''}{link['after']}"

    figures = FIGURE.sub(lambda figure: _figure(source.parent / figure["file"], figure["alt"]), markdown)
    return LINK_OR_CODE.sub(turn, figures)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Returns the page with this site's own script for search from disk: the theme would ask another server for one."""
    return output.replace("https://unpkg.com/iframe-worker/shim", "worker.js")


def _root(config: MkDocsConfig) -> Path:
    return Path(config.config_file_path).parent


def _tables(root: Path) -> Any:
    """Returns docs/tables.py as a module, which imports the package and is needed for a few pages only."""
    spec = importlib.util.spec_from_file_location("tables", root / "docs/tables.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _address(file: Path, root: Path, page: str, config: MkDocsConfig, files: Files) -> str:
    """Returns where a file of the repository is seen from a page: on the site if it is there, else in the source."""
    path = file.relative_to(root).as_posix()
    mounted = {where: uri for uri, where in config.extra["mounted"].items()}
    uri = mounted.get(path, path.removeprefix("docs/") if path.startswith("docs/") else "")
    page_or_image = files.get_file_from_path(uri) if uri else None
    if page_or_image and page_or_image.inclusion.is_included():
        return Path(os.path.relpath(uri, Path(page).parent)).as_posix()
    return f"{config.extra['source']}{path}"


def _figure(file: Path, alt: str) -> str:
    drawn = " ".join(file.read_text(encoding="utf-8").split())
    labelled = drawn.replace("<svg ", f'<svg role="img" aria-label="{alt}" ', 1)
    return f'<div class="figure" tabindex="0">{labelled}</div>'


class Examples(griffe.Extension):
    """Shows a docstring's `Example:` as the doctest it is; griffe knows the section by its plural only."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Renames the section before it is parsed."""
        if obj.docstring:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
