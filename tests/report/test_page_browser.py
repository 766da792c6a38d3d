"""The page in a browser: it sorts, filters, compares, fits a phone, and asks the network for nothing."""

import pytest

pytestmark = pytest.mark.browser

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


@pytest.fixture
def address(rich_report):
    return (rich_report.folder / "report.html").as_uri()


def labels(page):
    rows = page.locator("#leaderboard [data-set]:not([hidden]) tbody:first-of-type tr[data-label]:not([hidden])")
    return rows.evaluate_all("rows => rows.map(row => row.dataset.label)")


@pytest.mark.parametrize(("viewport", "scheme"), [(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light")])
def test_it_opens_quietly_and_fits(chromium_page, address, viewport, scheme):
    opened = chromium_page(address, viewport=viewport, color_scheme=scheme)
    opened.page.wait_for_function("document.querySelector('.error-right-caption').textContent.includes('grey levels')")
    assert opened.complaints == []
    assert opened.requests == [address]
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    assert opened.page.locator("h1").is_visible()
    ground = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(20, 22, 26)") is (scheme == "dark")


def test_sorting_by_mouse_and_keyboard(chromium_page, address, rich_report):
    page = chromium_page(address, viewport=DESKTOP).page
    board = page.locator("#leaderboard [data-set='0']")
    scores = rich_report.subject.scores["celeba"]
    comparable = ["bicubic", *(row.label for row in rich_report.subject.rows if not row.reads_parsing)]

    board.get_by_role("button", name="SSIM").click()
    assert board.locator("th[aria-sort]").evaluate_all("heads => heads.map(head => head.ariaSort)") == ["descending"]
    values = [scores[label].ssim.mean for label in labels(page)]
    assert values == sorted(values, reverse=True)

    board.get_by_role("button", name="Method").focus()
    page.keyboard.press("Enter")
    assert sorted(labels(page)) == sorted(comparable)
    assert labels(page)[0] == "bicubic"
    page.keyboard.press("Enter")
    assert labels(page)[-1] == "bicubic"
    assert "Method" in page.locator("#status").text_content()
    page.keyboard.press("Tab")  # on to the next column's button
    page.keyboard.press("Space")
    assert [scores[label].psnr.mean for label in labels(page)] == sorted(
        (scores[label].psnr.mean for label in comparable), reverse=True
    )

    board.get_by_role("button", name="GMACs").click()
    assert labels(page)[-1] == "bicubic"  # it has no cost, and comes last either way
    board.get_by_role("button", name="GMACs").click()
    assert labels(page)[-1] == "bicubic"


def test_filtering_and_choosing_the_test_set(chromium_page, address, rich_report):
    page = chromium_page(address, viewport=DESKTOP).page
    page.get_by_label("Filter rows").fill("no distillation")
    assert labels(page) == ["PKDN student, no distillation"]
    assert page.locator("#filtered").text_content() == f"1 of {len(rich_report.subject.rows) + 1} rows"
    assert page.locator("#leaderboard [data-set='0'] tr.section").is_hidden()
    page.get_by_label("Test set").select_option("1")
    assert page.locator("#leaderboard [data-set='0']").is_hidden()
    assert page.locator("#leaderboard [data-set='1']").is_visible()
    assert labels(page) == ["PKDN student, no distillation"]
    page.get_by_label("Filter rows").fill("")
    assert len(labels(page)) > 1


def test_comparing_faces(chromium_page, address, rich_report):
    page = chromium_page(address, viewport=DESKTOP).page
    viewer = page.locator(".viewer[data-set='0']")
    divider = viewer.get_by_label("Divider between left and right")
    divider.focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    assert divider.input_value() == "60"
    assert viewer.locator(".slide").evaluate("slide => slide.style.getPropertyValue('--divider')") == "60%"
    assert divider.get_attribute("aria-valuetext") == "60 % left, 40 % right"

    said = viewer.locator(".compare > figure:first-child figcaption")
    assert "Left: bicubic" in said.text_content()
    viewer.locator(".choose-left").select_option(label="HR")
    assert "Left: HR" in said.text_content()
    page.wait_for_function(
        "document.querySelector('.error-left-caption').textContent === 'HR: mean error 0.0 grey levels'"
    )

    viewer.locator(".face-choice button").nth(1).click()
    name = viewer.locator(".gallery:not([hidden])").get_attribute("data-name")
    assert said.text_content().startswith(f"Face {name}.")
    assert viewer.locator(".gallery:visible").count() == 1
    viewer.locator(".gallery:not([hidden]) button").first.press("Enter")
    assert "Right: LR" in said.text_content()

    slide = viewer.locator(".slide")
    slide.click(position={"x": 0.25 * slide.bounding_box()["width"], "y": 200})
    assert divider.input_value() == "25"


def test_hiding_a_row_in_the_plots(chromium_page, address):
    page = chromium_page(address, viewport=DESKTOP).page
    button = page.locator("#curves .legend button").first
    row = button.get_attribute("data-row")
    assert page.locator(f".plot .off[data-row='{row}']").count() == 0
    button.press("Space")
    assert button.get_attribute("aria-pressed") == "false"
    assert (
        page.locator(f".plot .off[data-row='{row}']").count() == page.locator(f".plot [data-row='{row}']").count() > 0
    )
    assert page.locator(f"#cost .legend [data-row='{row}']").get_attribute("aria-pressed") == "false"


def test_without_script_everything_is_shown(chromium_page, address):
    page = chromium_page(address, viewport=DESKTOP, java_script_enabled=False).page
    assert page.locator("table.board:visible").count() == 2
    assert page.locator(".gallery:visible").count() == 6
    assert page.locator(".scripted:visible").count() == 0
