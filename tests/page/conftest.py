"""The real server on a port of its own, and Debian's Chromium in front of it."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.server.conftest import small_model  # noqa: F401

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from hemoscope.predict.model import Model
    from hemoscope.review.state import State
    from hemoscope.server.site import Site

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE = Path(__file__).parent / "vendor" / "axe.min.js"


@dataclass
class Running:
    """A server that runs.

    Attributes:
        site: Its parts.
        url: Where its page is.
    """

    site: Site
    url: str

    def put_slide(self, **more: Any) -> int:
        """Put a slide of drawn cells into the store; see `drawn_slide.put_slide`."""
        from tests.page.drawn_slide import put_slide

        return put_slide(self.site.store, self.site.pictures, **more)

    def places(self, slide: int, reading: Any = 1) -> dict[int, str]:
        """Where the server says each cell lies."""
        return self.state(slide, reading).places

    def state(self, slide: int, reading: Any = 1) -> State:
        """What the server holds of a reading."""
        from hemoscope.server.store.slides import find_slide

        with self.site.store.read() as session:
            return self.site.readings.folds.read(session, find_slide(session, slide), reading).state


@contextmanager
def serving(folder: Path, model: Model, port: int = 0, store: str = "") -> Iterator[Running]:
    """Give a server on a folder, in threads of this process, listening as `hemoscope serve` does."""
    import uvicorn

    from hemoscope.differential.reference import read_reference
    from hemoscope.server.app import create_app
    from hemoscope.server.judge import Judge
    from hemoscope.server.serve import listen
    from hemoscope.server.settings import Settings
    from hemoscope.server.site import open_site

    settings = Settings(folder, port=port, store=store)
    with listen(settings) as held:
        port = held.getsockname()[1]
        settings = Settings(folder, port=port, store=store)
        with open_site(settings, Judge(model), read_reference()) as site:
            config = uvicorn.Config(
                create_app(site), log_config=None, access_log=False, timeout_graceful_shutdown=2
            )
            server = uvicorn.Server(config)
            thread = threading.Thread(target=lambda: asyncio.run(server.serve([held])))
            thread.start()
            while not server.started:
                thread.join(0.01)
                assert thread.is_alive(), "the server did not start"
            try:
                yield Running(site, f"http://127.0.0.1:{port}/")
            finally:
                site.events.close()
                server.should_exit = True
                thread.join()


@pytest.fixture
def running(tmp_path: Path, small_model: Model) -> Iterator[Running]:  # noqa: F811
    """A server with no slides."""
    with serving(tmp_path / "data", small_model) as server:
        yield server


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine; apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Window:
    """A browser window at the server, and what went wrong in it.

    Attributes:
        page: Playwright's.
        url: Where the server is.
        wrong: Errors of scripts, and of the content security policy.
    """

    page: Page
    url: str
    wrong: list[str] = field(default_factory=list)

    def open(self, slide: int | None = None) -> Page:
        """Go to a slide, or to the list, and wait for it."""
        self.page.goto(self.url + (f"#/slides/{slide}" if slide else ""))
        self.page.wait_for_selector("[data-cell]" if slide else ".drop-zone")
        return self.page

    def axe(self, where: str) -> None:
        """Let axe look at the page; it must find nothing serious."""
        if not self.page.evaluate("() => 'axe' in window"):
            self.page.evaluate(AXE.read_text("utf-8"))
        found = self.page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
        serious = [
            f"{where}: {v['id']} ({v['impact']}): {v['help']}: {[n['html'][:160] for n in v['nodes'][:3]]}"
            for v in found["violations"]
            if v["impact"] in ("serious", "critical")
        ]
        assert not serious, "\n".join(serious)


@pytest.fixture
def windows_at(chromium: Browser) -> Iterator[Any]:
    """A maker of windows at a server; at the end none of them had an error."""
    made: list[Window] = []

    def window(running: Running, width: int = 1440, height: int = 900, **context: Any) -> Window:
        page = chromium.new_context(viewport={"width": width, "height": height}, **context).new_page()
        page.set_default_timeout(20_000)
        new = Window(page, running.url)
        page.on("pageerror", lambda error: new.wrong.append(str(error)))
        page.on(
            "console", lambda m: new.wrong.append(m.text) if "Content Security Policy" in m.text else None
        )
        made.append(new)
        return new

    yield window
    for each in made:
        each.page.context.close()
        assert each.wrong == []


@pytest.fixture
def windows(running: Running, windows_at: Any) -> Any:
    """A maker of windows at the one server."""
    return lambda *size, **context: windows_at(running, *size, **context)


@pytest.fixture
def window(windows: Any) -> Window:
    """One window as large as a laptop's."""
    return windows()
