"""Makes the images of the report's page and of the demo, in an installed Chromium.

    python docs/screenshots.py runs/report/report.html stores/us_congress

The report is of runs on public-domain portraits, each `pkdn train experiment=demo data=us_congress logger=csv
trainer.max_steps=120 trainer.val_check_interval=40 teacher.max_steps=120` with seed=0 and seed=1, and the same with
objective=reconstruction. The demo restores the first of their test faces with the model in the package.
"""

import argparse
import io
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from pkdn_lightning.config import compose
from pkdn_lightning.data.store import FaceStore
from pkdn_lightning.demo.limits import Limits
from pkdn_lightning.demo.restorers import load_models
from pkdn_lightning.demo.server import serving

WIDTH = 1100
HERE = Path(__file__).parent


def shoot(browser: Browser, address: str, name: str, height: int, prepare: Callable[[Page], Any]) -> None:
    """Saves what the browser shows at an address, once `prepare` has had its way with the page."""
    page = browser.new_page(viewport={"width": WIDTH, "height": height}, color_scheme="light")
    page.goto(address, wait_until="domcontentloaded")
    prepare(page)
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    image.save(HERE / name, quality=82, optimize=True)
    page.close()


def restore(page: Page, file: Path) -> None:
    """Gives the demo an image and waits for the result."""
    page.set_default_timeout(60_000)
    page.locator("#restore").wait_for()
    page.locator("#image input[type=file]").set_input_files(file)
    page.locator(".strip figure").first.wait_for()
    page.wait_for_timeout(1500)  # the slider's images fade in


def main() -> None:
    """Makes both images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, help="a report.html of faces that may be shown")
    parser.add_argument("store", type=Path, help="a store of faces that may be shown")
    given = parser.parse_args()
    store = FaceStore.open(given.store)
    cfg = compose("demo", ["browser=false", "accelerator=cpu"])
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        face = Path(folder, "portrait.png")
        Image.fromarray(store.hr[store.indices("test")[0]]).resize((16, 16), Image.Resampling.BICUBIC).save(face)
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        board = "document.querySelector('#leaderboard').scrollIntoView()"
        shoot(browser, given.report.absolute().as_uri(), "report.jpg", 760, lambda page: page.evaluate(board))
        with serving(load_models(cfg), Limits(), cfg) as address:
            shoot(browser, address, "demo_page.jpg", 1180, lambda page: restore(page, face))


if __name__ == "__main__":
    main()
