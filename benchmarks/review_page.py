"""The review page's own time, in Chromium against a running server: first paint, a move until it is seen, 200 cells.

Usage: python benchmarks/review_page.py MODEL --cells DIR [--out DIR]

DIR is a folder of class folders; the class of a folder is what the scripted person says of its cells. That person needs no time
to look: what is measured is everything else, with the driver of the browser in it.
"""

import argparse
import io
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from contextlib import contextmanager
from pathlib import Path

from measure import machine
from playwright.sync_api import Page, sync_playwright

from hemoscope.files import write_json, write_text

CHROMIUM = "/usr/bin/chromium"
REVIEWED, PAINTED = 200, 1000

SEEN = """() => {
    window.seen = [];
    addEventListener('keydown', (event) => {
        const began = event.timeStamp;
        const cell = document.querySelector('.thumb:hover')?.dataset.cell;
        if (!cell) return;
        const before = where(cell);
        const look = new MutationObserver(() => {
            if (where(cell) === before) return;
            look.disconnect();
            requestAnimationFrame(() => {
                const after = new MessageChannel();
                after.port1.onmessage = () => window.seen.push(performance.now() - began);
                after.port2.postMessage(0);
            });
        });
        look.observe(document.querySelector('.wall'), {subtree: true, childList: true, attributes: true});
    }, true);
    function where(cell) {
        const node = document.querySelector(`[data-cell="${cell}"]`);
        return node ? `${node.closest('[data-place]').dataset.place} ${node.style.transform} ${node.className}` : '';
    }
}"""
NEXT = """(place) => {
    const scope = place ? `[data-place="${place}"] ` : '';
    const node = document.querySelector(scope + '.thumb:not(.done)');
    if (!node) return null;
    const head = node.closest('[data-place]').querySelector('.section-head').getBoundingClientRect();
    let box = node.getBoundingClientRect();
    const wall = document.querySelector('.wall').getBoundingClientRect();
    if (box.top < wall.top + head.height || box.bottom > wall.bottom) {
        document.querySelector('.wall').scrollTop += box.top - wall.top - head.height - 4;
        box = node.getBoundingClientRect();
    }
    return {cell: Number(node.dataset.cell), place: node.closest('[data-place]').dataset.place, x: box.x + box.width / 2, y: box.y + box.height / 2};
}"""
PAINT = """() => new Promise((resolve) => {
    const look = () => {
        const images = [...document.querySelectorAll('.thumb img')].filter((i) => i.getBoundingClientRect().top < innerHeight);
        if (images.length && images.every((i) => i.complete && i.naturalWidth)) resolve(performance.now());
        else requestAnimationFrame(look);
    };
    look();
})"""


@contextmanager
def server(model: Path, folder: Path):
    """Give the address of `hemoscope serve` on a folder of its own."""
    command = [
        sys.executable,
        "-m",
        "hemoscope",
        "serve",
        str(model),
        "--port",
        "0",
        "--data-folder",
        str(folder),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            if not address.startswith("http"):
                raise SystemExit(f"the server did not start; it said {address!r}")
            yield address
        finally:
            process.terminate()


def pick(cells: Path, n: int, seed: int) -> list[tuple[str, bytes]]:
    """Return n cells of all classes in turn: name, which begins with the class, and content."""
    rng = random.Random(seed)
    by_class = {
        d.name: sorted(p for p in d.iterdir() if p.is_file()) for d in sorted(cells.iterdir()) if d.is_dir()
    }
    for files in by_class.values():
        rng.shuffle(files)
    names = [name for name, files in by_class.items() for _ in files]
    rng.shuffle(names)
    chosen: dict[bytes, str] = {}  # the same image twice would be one cell
    for name in names:
        path = by_class[name].pop()
        chosen.setdefault(path.read_bytes(), f"{len(chosen):04d}_{name}{path.suffix}")
        if len(chosen) == n:
            return [(called, content) for content, called in chosen.items()]
    raise SystemExit(f"expected at least {n} different images in {cells}; there are {len(chosen)}")


def drop(page: Page, address: str, cells: list[tuple[str, bytes]], title: str) -> tuple[int, float]:
    """Give a zip of cells to the page; return the slide and the seconds until all are recognised."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in cells:
            archive.writestr(name, content)
    page.goto(address)
    page.locator(".drop-input").set_input_files(
        [{"name": f"{title}.zip", "mimeType": "application/zip", "buffer": buffer.getvalue()}]
    )
    began = time.perf_counter()
    page.get_by_role("button", name="Make the slide").click()
    page.wait_for_function(
        "(n) => (document.querySelector('.review-progress .number')?.textContent ?? '').includes(`of ${n.toLocaleString('en')} `)",
        arg=len(cells),
        timeout=600_000,
    )
    found = re.search(r"slides/(\d+)", page.url)
    assert found
    return int(found[1]), time.perf_counter() - began


def truths(page: Page, address: str, slide: int) -> dict[int, str]:
    """The class that each cell's folder names."""
    cells = page.request.get(f"{address}api/v1/slides/{slide}/cells").json()["cells"]
    return {c["cell"]: Path(c["name"]).stem.partition("_")[2] for c in cells}


def keys_of(page: Page, address: str) -> dict[str, str]:
    return {c["name"]: c["key"] for c in page.request.get(f"{address}api/v1/model").json()["classes"]}


def say(page: Page, target: dict, key: str) -> None:
    """Point at a cell, press its key, and wait until the move is seen."""
    n = page.evaluate("() => window.seen.length")
    page.mouse.move(target["x"], target["y"])
    page.keyboard.press(key)
    page.wait_for_function("(n) => window.seen.length > n", arg=n)


def begin(page: Page, address: str, slide: int) -> None:
    page.goto("about:blank")
    page.goto(f"{address}#/slides/{slide}")
    page.wait_for_selector("[data-cell]")
    page.evaluate(SEEN)


def saved(page: Page) -> None:
    page.wait_for_function("() => document.querySelector('.saved').textContent === 'All saved'")


def one_by_one(page: Page, address: str, slide: int) -> dict:
    """Every cell by pointing and a key."""
    truth, keys = truths(page, address, slide), keys_of(page, address)
    begin(page, address, slide)
    began, pressed = time.perf_counter(), 0
    places = page.eval_on_selector_all("[data-rail]", "all => all.map(e => e.dataset.rail)")
    for place in places:
        page.locator(f'[data-rail="{place}"]').click()
        page.mouse.move(2, 2)
        while target := page.evaluate(NEXT, place):
            say(page, target, keys[truth[target["cell"]]])
            pressed += 1
    saved(page)
    return {
        "seconds": time.perf_counter() - began,
        "keys": pressed,
        "seen_ms": page.evaluate("() => window.seen"),
    }


def with_confirming(page: Page, address: str, slide: int) -> dict:
    """What is open or wrong by pointing and a key, the rest class by class at once."""
    truth, keys = truths(page, address, slide), keys_of(page, address)
    begin(page, address, slide)
    began, pressed, confirmed = time.perf_counter(), 0, 0
    for place in ("unidentified", "review"):
        page.locator(f'[data-rail="{place}"]').click()
        page.mouse.move(2, 2)
        while target := page.evaluate(NEXT, place):
            say(page, target, keys[truth[target["cell"]]])
            pressed += 1
    for place in keys:
        page.locator(f'[data-rail="{place}"]').click()
        for cell in page.eval_on_selector_all(
            f'[data-place="{place}"] .thumb:not(.done)', "all => all.map(e => Number(e.dataset.cell))"
        ):
            if truth[cell] != place:
                box = page.locator(f'[data-cell="{cell}"]').bounding_box()
                assert box
                say(
                    page,
                    {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2},
                    keys[truth[cell]],
                )
                pressed += 1
        button = page.locator(f'[data-place="{place}"]').get_by_role("button", name="Confirm")
        if button.count():
            button.click()
            confirmed += 1
    saved(page)
    return {
        "seconds": time.perf_counter() - began,
        "keys": pressed,
        "clicks": confirmed,
        "seen_ms": page.evaluate("() => window.seen"),
    }


def first_paint(browser, address: str, slide: int, repeats: int = 5) -> dict:
    """From the address to every thumbnail in sight, each time in a window that knows nothing."""
    contents, images = [], []
    for _ in range(repeats):
        page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        page.goto(f"{address}#/slides/{slide}", wait_until="commit")
        images.append(page.evaluate(PAINT))
        contents.append(
            page.evaluate("() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
        )
        page.context.close()
    return {"first_contentful_paint_ms": contents, "cells_in_sight_ms": images}


def scrolling(page: Page, address: str, slide: int) -> dict:
    """Frames while the wall is scrolled from its top to its end."""
    begin(page, address, slide)
    gaps = page.evaluate("""() => new Promise((resolve) => {
        const wall = document.querySelector('.wall');
        const gaps = [];
        let last = performance.now();
        const step = (now) => {
            gaps.push(now - last);
            last = now;
            wall.scrollTop += 60;
            if (wall.scrollTop + wall.clientHeight >= wall.scrollHeight - 1) resolve(gaps.slice(2));
            else requestAnimationFrame(step);
        };
        requestAnimationFrame(step);
    })""")
    return {
        "frames": len(gaps),
        "median_ms": statistics.median(gaps),
        "p95_ms": quantile(gaps, 0.95),
        "worst_ms": max(gaps),
    }


def quantile(values: list[float], q: float) -> float:
    return sorted(values)[min(len(values) - 1, round(q * (len(values) - 1)))]


def told(found: dict) -> str:
    one, two, paint = found["one_by_one"], found["with_confirming"], found["first_paint"]
    scroll = found["scrolling"]

    def seen(ms: list[float]) -> str:
        return f"{statistics.median(ms):.0f} ({quantile(ms, 0.95):.0f}, {max(ms):.0f})"

    lines = [
        "| what | figure |",
        "|---|---:|",
        f"| {REVIEWED} cells, each by pointing and a key: seconds in all | {one['seconds']:.1f} |",
        f"| the same, what is open or wrong by a key ({two['keys']}), the rest class by class ({two['clicks']} clicks): seconds in all | {two['seconds']:.1f} |",
        f"| from the key to the move on the screen, ms: median (95th percentile, longest) of {len(one['seen_ms'])} | {seen(one['seen_ms'])} |",
        f"| first contentful paint with {PAINTED:,} cells, ms: median of {len(paint['first_contentful_paint_ms'])} (longest) | {statistics.median(paint['first_contentful_paint_ms']):.0f} ({max(paint['first_contentful_paint_ms']):.0f}) |",
        f"| all cells in sight with {PAINTED:,} cells, ms: median (longest) | {statistics.median(paint['cells_in_sight_ms']):.0f} ({max(paint['cells_in_sight_ms']):.0f}) |",
        f"| a frame while {PAINTED:,} cells scroll by, ms: median (95th percentile, longest) of {scroll['frames']} | {scroll['median_ms']:.0f} ({scroll['p95_ms']:.0f}, {scroll['worst_ms']:.0f}) |",
        f"| a zip of {REVIEWED} cells from the drop until all are recognised, s | {found['drop_s']:.1f} |",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--cells", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    many = pick(args.cells, PAINTED, seed=0)
    with (
        tempfile.TemporaryDirectory() as folder,
        server(args.model, Path(folder) / "data") as address,
        sync_playwright() as driver,
    ):
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        page.set_default_timeout(60_000)
        first, drop_s = drop(page, address, many[:REVIEWED], "first")
        second, _ = drop(page, address, many[:REVIEWED], "second")
        large, _ = drop(page, address, many, "large")
        found = {
            "machine": machine(),
            "load_average": os.getloadavg()[0],
            "drop_s": drop_s,
            "first_paint": first_paint(browser, address, large),
            "scrolling": scrolling(page, address, large),
            "one_by_one": one_by_one(page, address, first),
            "with_confirming": with_confirming(page, address, second),
            "chromium": browser.version,
        }
        browser.close()
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "page.json", found)
    write_text(args.out / "page.md", told(found))
    print(told(found))


if __name__ == "__main__":
    main()
