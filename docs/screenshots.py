"""Makes the images of the report's page and of the demo, in an installed Chromium.

    python docs/screenshots.py runs/report/report.html

The report is of runs on the included portraits, each `pkdn train data=portraits size=reduced recipe=common
trainer.max_steps=2000` with another experiment. The demo restores one of its examples with the included model.
"""

import argparse
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from pkdn_lightning.config import compose
from pkdn_lightning.demo.limits import Limits
from pkdn_lightning.demo.restorers import load_models
from pkdn_lightning.demo.server import serving

WIDTH = 1280
HERE = Path(__file__).parent


def shoot(browser: Browser, address: str, name: str, height: int, prepare: Callable[[Page], Any]) -> None:
    """Saves what the browser shows at an address, after `prepare` has acted on the page."""
    page = browser.new_page(viewport={"width": WIDTH, "height": height}, color_scheme="light")
    page.goto(address, wait_until="domcontentloaded")
    prepare(page)
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    image.save(HERE / name, quality=82, optimize=True)
    page.close()


def restore(page: Page) -> None:
    """Chooses the first example of the demo and waits for the result."""
    page.set_default_timeout(60_000)
    page.locator("#restore").wait_for()
    page.locator("#examples button").first.click()
    page.mouse.move(0, 0)
    page.locator(".strip figure").first.wait_for()
    page.wait_for_timeout(1500)  # the slider's images fade in


def main() -> None:
    """Makes both images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, help="a report.html of faces that may be shown")
    given = parser.parse_args()
    cfg = compose("demo", ["browser=false", "accelerator=cpu"])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        board = "document.querySelector('#leaderboard').scrollIntoView()"
        shoot(browser, given.report.absolute().as_uri(), "report.jpg", 760, lambda page: page.evaluate(board))
        with serving(load_models(cfg), Limits(), cfg) as address:
            shoot(browser, address, "demo_page.jpg", 1290, restore)


if __name__ == "__main__":
    main()
