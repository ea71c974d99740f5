"""Pictures of the review page for docs/, of drawn cells.

Usage: python tools/page/screens.py http://127.0.0.1:8000/ docs

The address is that of a fresh `hemoscope serve --demo`; its slide is reviewed a little on the way.
"""

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"


def keep(page: Page, path: Path, *, width: int | None = None) -> None:
    """Write what the page shows, with few colours, so that the file is small."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    if width:
        picture = picture.resize(
            (width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS
        )
    colours = [  # most for what there is most of, some for what is rare: dots and signs
        picture.quantize(n, way, dither=Image.Dither.NONE).getpalette()
        for n, way in ((200, Image.Quantize.MEDIANCUT), (56, Image.Quantize.MAXCOVERAGE))
    ]
    palette = Image.new("P", (1, 1))
    palette.putpalette([value for part in colours for value in part or ()])
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)


def window(
    browser: Browser, address: str, width: int, height: int, theme: str, *, touch: bool = False
) -> Page:
    """Open the demo's slide and wait for its pictures."""
    size = {"width": width, "height": height}
    page = browser.new_context(viewport=size, color_scheme=theme, has_touch=touch, is_mobile=touch).new_page()  # type: ignore[arg-type]
    page.goto(address)
    page.locator(".slides-table a").last.click()
    page.wait_for_selector("[data-cell]")
    page.wait_for_selector(".arriving", state="detached")
    page.mouse.move(2, 2)
    page.wait_for_function(
        "() => [...document.querySelectorAll('.thumb img')].every((image) => image.complete)"
    )
    return page


def review_a_little(page: Page) -> None:
    """Put the first cells for review where the model's first answer points, confirm two classes, select some cells."""
    for _ in range(3):
        page.locator('[data-place="review"] [data-cell]').first.hover()
        page.keyboard.press("c")
        page.wait_for_function("() => document.querySelector('.saved').textContent === 'All saved'")
    for place in ("eosinophil", "basophil"):
        page.locator(f'[data-rail="{place}"]').click()
        page.locator(f'[data-place="{place}"]').get_by_role("button", name="Confirm").click()
    page.locator('[data-rail="review"]').click()
    cells = page.locator('[data-place="review"] [data-cell]')
    cells.nth(1).click()
    cells.nth(3).click(modifiers=["Shift"])
    page.mouse.move(2, 2)
    page.wait_for_timeout(500)


def main() -> None:
    """Take them."""
    address, out = sys.argv[1], Path(sys.argv[2])
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = window(browser, address, 1280, 800, "light")
        review_a_little(page)
        keep(page, out / "review.png")
        page = window(browser, address, 1280, 800, "dark")
        page.locator('[data-place="review"] [data-cell]').first.dblclick()
        page.get_by_role("button", name="Heatmap").click()
        page.wait_for_function("() => document.querySelector('img.heat')?.naturalWidth > 0")
        page.wait_for_timeout(1500)  # the nearest cells
        keep(page, out / "review-cell.png")
        page = window(browser, address, 390, 780, "light", touch=True)
        page.wait_for_timeout(500)
        keep(page, out / "review-phone.png")
        page = window(browser, address, 2560, 1440, "dark")
        page.wait_for_timeout(500)
        keep(page, out / "review-wall-screen.png", width=1280)
        browser.close()


if __name__ == "__main__":
    main()
