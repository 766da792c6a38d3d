"""The page in a browser: a face restored, compared and saved; mistakes told; nothing asked of anybody else."""

import re

import pytest
from PIL import Image, ImageChops, ImageStat

from tests.demo.conftest import bomb
from tests.predict.conftest import face

pytestmark = pytest.mark.browser

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def address(serve):
    with serve(request_s=120) as (address, _):
        yield address


@pytest.fixture
def visit(chromium_page, address):
    """Returns a function that opens the page and waits until it is there."""

    def open_page(**context):
        opened = chromium_page(address, **{"viewport": DESKTOP, **context})
        opened.page.set_default_timeout(30_000)
        opened.page.locator(".pair figure").first.wait_for()  # the opening example is restored
        return opened

    return open_page


def give(page, file):
    page.locator("#image input[type=file]").set_input_files(file)


def names(page):
    page.wait_for_function("!document.querySelector('#said').textContent.includes('An example')")
    page.locator(".strip figure").first.wait_for()
    return page.locator(".strip strong").all_text_contents()


@pytest.mark.parametrize(
    "viewport", [pytest.param(DESKTOP, id="desktop"), pytest.param(PHONE, id="phone", marks=pytest.mark.slow)]
)
def test_it_opens_with_a_restored_portrait_before_and_after(visit, viewport):
    page = visit(viewport=viewport).page
    before, after = (page.locator(".pair img").nth(number).bounding_box() for number in range(2))
    assert page.locator(".pair strong").all_text_contents() == ["Before", "After"]
    assert before["y"] == after["y"]
    assert 0 <= before["x"] < before["x"] + before["width"] <= after["x"]
    assert after["x"] + after["width"] <= viewport["width"]
    assert after["y"] + after["height"] <= viewport["height"]  # without scrolling
    assert "An example" in page.locator("#said").text_content()
    assert page.locator("#image input[type=file]").count() == 1  # the place for an upload is free
    assert not re.search(r"\w=\w", page.locator("body").inner_text())


@pytest.mark.parametrize(
    "viewport", [pytest.param(DESKTOP, id="desktop", marks=pytest.mark.slow), pytest.param(PHONE, id="phone")]
)
def test_an_example_is_restored_at_once(visit, address, viewport):
    opened = visit(viewport=viewport)
    page = opened.page
    page.locator("#examples button").first.click()
    assert names(page) == ["LR", "Bicubic", "tiny", "tiny (2)", "Teacher", "Original", "Parsing map"]
    assert "A sharp face" in page.locator("#said [role=status]").text_content()
    assert page.locator("#legend li").count() > 5
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    assert page.locator(".strip img:not([alt])").count() == 0
    assert {request.split("/")[2] for request in opened.requests if "://" in request} == {address.split("/")[2]}
    assert opened.complaints == []


@pytest.mark.slow
def test_an_upload_compared_and_saved(visit, tmp_path):
    face(size=16).save(tmp_path / "my face.png")
    page = visit().page
    give(page, tmp_path / "my face.png")
    assert names(page) == ["LR", "Bicubic", "tiny", "tiny (2)"]

    cut = page.locator("#slider [style*='inset']").first
    before = cut.get_attribute("style")
    divider = page.get_by_role("slider", name="Divider")
    divider.focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "([node, before]) => node.getAttribute('style') !== before", arg=[cut.element_handle(), before]
    )

    label = page.locator("#slider label")
    assert "Bicubic | tiny" in label.text_content()
    page.locator("#left input").click()
    page.get_by_role("option", name="LR", exact=True).click()
    page.wait_for_function("document.querySelector('#slider label').textContent.includes('LR | tiny')")

    with page.expect_download() as saving:
        page.get_by_role("link", name="Save tiny of the face").click()
    assert saving.value.suggested_filename == "the_face_tiny.png"
    assert Image.open(saving.value.path()).size == (128, 128)


@pytest.mark.slow
def test_a_photograph_is_restored_and_saved(visit, detector, tmp_path):
    detector((10, 20, 20), (120, 40, 60))
    face().resize((200, 100)).save(tmp_path / "photo.png")
    page = visit().page
    give(page, tmp_path / "photo.png")
    page.locator("#faces button").nth(1).wait_for()
    page.locator("#faces button").nth(1).click()
    page.get_by_role("link", name="of face 2").first.wait_for()
    with page.expect_download() as saving:
        page.locator("#save").click()
    assert saving.value.suggested_filename == "restored_photo.jpg"
    with Image.open(saving.value.path()) as result:
        assert result.size == (200, 100)
    with page.expect_response(lambda answer: "queue/join" in answer.url):
        page.locator("#strength input[type=number]").fill("0")
    page.wait_for_timeout(1000)
    with page.expect_download() as saving:
        page.locator("#save").click()
    original = face().resize((200, 100))
    with Image.open(saving.value.path()) as result:  # as JPEG
        assert ImageStat.Stat(ImageChops.difference(result, original)).mean[0] < 3
    for box in page.locator("#put-back input").all():
        box.uncheck()
    page.locator("#save").wait_for(state="hidden")


@pytest.mark.slow
def test_mistakes_are_told_in_the_page(visit, detector, tmp_path):
    detector()
    (tmp_path / "text.png").write_text("no image")
    Image.new("RGB", (300, 200)).save(tmp_path / "nobody.png")
    page = visit().page
    for file, words in (
        (tmp_path / "text.png", "is no image that can be read"),
        (bomb(tmp_path / "bomb.png"), "limit is 50 megapixels"),
        (tmp_path / "nobody.png", "No face was found"),
    ):
        give(page, file)
        page.wait_for_function("words => document.querySelector('#said').textContent.includes(words)", arg=words)
        assert page.locator("#said [role=alert]").is_visible()
        assert page.locator("#result").is_hidden()
        assert str(tmp_path) not in page.locator("#said").text_content()
        page.get_by_label("Clear").or_(page.get_by_label("Remove Image")).first.click()
        page.wait_for_function("document.querySelector('#said').textContent.includes('Upload an image')")


@pytest.mark.slow
def test_two_visitors_at_once(visit, tmp_path):
    pages = [visit().page for _ in range(2)]
    for number, page in enumerate(pages):
        face(number, 16 + 16 * number).save(tmp_path / f"{number}.png")
        give(page, tmp_path / f"{number}.png")
    for number, page in enumerate(pages):
        assert names(page)[0] == "LR"
        assert f"{16 + 16 * number}×{16 + 16 * number}" in page.locator("#said").text_content()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable_by_day_and_night(visit, scheme):
    page = visit(color_scheme=scheme).page
    colours = page.evaluate(
        """() => [getComputedStyle(document.body).backgroundColor,
                  getComputedStyle(document.querySelector('header p')).color].map(colour => {
            const canvas = new OffscreenCanvas(1, 1).getContext('2d');
            canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
            return [...canvas.getImageData(0, 0, 1, 1).data.slice(0, 3)]; })"""
    )
    ground, text = (_luminance(colour) for colour in colours)
    assert (ground < 0.2) is (scheme == "dark")
    assert (max(ground, text) + 0.05) / (min(ground, text) + 0.05) > 4.5  # WCAG AA


def _luminance(colour):
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in (c / 255 for c in colour)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
