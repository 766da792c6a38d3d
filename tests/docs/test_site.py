"""The site: it builds strictly, its links lead somewhere, and in a browser it fits and asks nobody for anything."""

import os
import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

from pkdn_lightning import losses, metrics, modules
from pkdn_lightning.train import callbacks
from tests.docs.commands import ROOT

pytest.importorskip("mkdocs", reason="the site needs pip install 'pkdn-lightning[docs]'")


def build(root, site, *, values=False):
    """Builds the site; without the values that test_tables checks, in a fraction of the time."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(root / "mkdocs.yml"), "-d", str(site)],
        capture_output=True, text=True, check=False, cwd=root, env=os.environ | {"PKDN_DOCS_VALUES": str(int(values))},
    )  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder


def pages(entry):
    """Yields the pages of the navigation."""
    if isinstance(entry, str):
        yield entry
    else:
        for each in entry.values() if isinstance(entry, dict) else entry:
            yield from pages(each)


def test_every_page_has_its_place():
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text().replace("!!python/name:", ""))
    listed = list(pages(config["nav"]))
    there = {file.name for file in (ROOT / "docs").glob("*.md")} | set(config["extra"]["mounted"])
    assert set(listed) == there
    assert all((ROOT / file).is_file() for file in config["extra"]["mounted"].values())


def test_it_builds_and_shows_the_figures(site):
    method = (site / "method.html").read_text(encoding="utf-8")
    assert method.count('class="pkdn-figure"') == len(list((ROOT / "docs/figures").glob("*.svg")))
    assert "psnr_y" in (site / "api.html").read_text(encoding="utf-8")
    assert "House rules" in (site / "contributing.html").read_text(encoding="utf-8")
    assert not list(site.rglob("*.py"))


@pytest.mark.slow
def test_it_shows_the_values_of_the_package(tmp_path):
    done = build(ROOT, tmp_path, values=True)
    assert done.returncode == 0, done.stderr
    deviations = (tmp_path / "deviations.html").read_text(encoding="utf-8")
    assert deviations.count("<table>") == 13  # all methods, and a card each
    assert '<abbr title="objective.fs.weight">10</abbr>' in deviations
    assert not re.search(r"<td>[^<]*\{", deviations)
    published = (tmp_path / "published.html").read_text(encoding="utf-8")
    assert "26.43 to 27.43" in published


def test_the_api_page_has_every_part():
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    named = {name for module in (callbacks, losses, metrics, modules) for name in module.__all__}
    files = [
        file.read_text() for group in ("model", "data", "parser") for file in (ROOT / "conf" / group).glob("*.yaml")
    ]
    named |= {target.rpartition(".")[2] for file in files for target in re.findall(r"_target_: (\S+)", file)}
    left_out = {"HEADLINE", "PROTOCOLS", "Progress", "Quality", "FrozenFeatures", "TrainingInterruptedError"}
    assert [name for name in sorted(named - left_out) if not re.search(rf"^::: .*\.{name}$", page, re.MULTILINE)] == []


@pytest.mark.slow
def test_a_link_to_nothing_ends_the_build(tmp_path):
    for name in ("docs", "src", "experiments", "conf", "notebooks", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("mkdocs.yml", "CONTRIBUTING.md", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    page = tmp_path / "docs/faq.md"
    page.write_text(page.read_text() + "\n[`gone`](../conf/gone.yaml)\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    assert "docs/faq.md links to ../conf/gone.yaml" in done.stdout + done.stderr


@pytest.fixture(scope="module")
def address(site):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


def visit(chromium_page, address, name, **context):
    opened = chromium_page(f"{address}/{name}", **context)
    opened.page.wait_for_load_state("networkidle")
    assert all(request.startswith((address, "blob:")) for request in opened.requests), opened.requests
    assert opened.complaints == []
    return opened.page


@pytest.mark.browser
def test_it_asks_nobody_and_fits_a_phone(chromium_page, address):
    page = visit(chromium_page, address, "method.html", viewport=PHONE, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.evaluate("getComputedStyle(document.querySelector('.pkdn-figure text')).fill") == page.evaluate(
        "getComputedStyle(document.querySelector('.md-content')).color"
    )


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_every_page_fits_and_is_quiet(chromium_page, address, site, viewport):
    for file in sorted(site.glob("*.html")):
        page = visit(chromium_page, address, file.name, viewport=viewport)
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], file.name


@pytest.mark.browser
@pytest.mark.parametrize("from_disk", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_word_is_found(chromium_page, address, site, from_disk):
    page = visit(chromium_page, site.as_uri() if from_disk else address, "index.html", viewport=DESKTOP)
    page.locator("input.md-search__input").click()
    page.keyboard.type("heatmaps", delay=20)
    page.locator(".md-search-result__item").first.wait_for()
