"""`hemoscope serve`: the review page, from a slide's cells to a signed differential."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from hemoscope.cli.console import note
from hemoscope.cli.options import DeviceName
from hemoscope.cli.progress import progress
from hemoscope.errors import ConfigError, MissingPackageError
from hemoscope.places import cache_dir

__all__ = ["need_packages", "serve"]


def serve(
    model: Annotated[Path | None, typer.Argument(metavar="[MODEL]", help="A bundle; or --demo.")] = None,
    *,
    demo: Annotated[bool, typer.Option("--demo", help="Drawn cells and a model made for show.")] = False,
    host: Annotated[
        str, typer.Option(help="Address to listen at; any but this machine's own demands sign-in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for a free one.")] = 8000,
    store: Annotated[
        str,
        typer.Option(
            help="postgresql://USER@HOST/NAME; default: SQLite in the data folder.", envvar="HEMOSCOPE_STORE"
        ),
    ] = "",
    data_folder: Annotated[
        Path | None,
        typer.Option(help="Folder of images and store; default: review, of the demo in the cache."),
    ] = None,
    ranges: Annotated[
        Path | None, typer.Option(help="Your laboratory's roles and ranges, as TOML; default: adults.")
    ] = None,
    codes: Annotated[
        Path | None, typer.Option(help="Your laboratory's LOINC codes, as TOML; default: those of hemoscope.")
    ] = None,
    gallery: Annotated[
        Path | None,
        typer.Option(help="Class folders of reference cells, shown beside a doubtful one."),
    ] = None,
    tta: Annotated[
        bool,
        typer.Option("--tta", help="Average over eight flips and turns; the bundle was made with --tta."),
    ] = False,
    device: DeviceName = "auto",
) -> None:
    """Open the review page in a browser: slides, their cells by class, the count, the signature.

    Research software, not a medical device.
    """
    need_packages()
    from hemoscope.differential.reference import read_reference
    from hemoscope.predict.model import load
    from hemoscope.review.exports.loinc import read_codes
    from hemoscope.server.judge import Judge
    from hemoscope.server.logs import log_to
    from hemoscope.server.serve import listen
    from hemoscope.server.serve import serve as run
    from hemoscope.server.settings import Settings
    from hemoscope.server.site import open_site

    if demo == (model is not None):
        raise ConfigError("expected a MODEL or --demo, one of them: hemoscope serve blood.hemo")
    made_in = cache_dir() / "serve-demo"
    settings = Settings(
        data=data_folder or (made_in / "data" if demo else Path("review")),
        host=host,
        port=port,
        store=store,
        demo=demo,
        tta=tta,
        gallery=gallery or (made_in / "cells" if demo else None),
    )
    reference, loinc = read_reference(ranges), read_codes(codes)
    with ExitStack() as stack:
        held = stack.enter_context(listen(settings))
        settings = replace(settings, port=held.getsockname()[1])
        if demo:
            model = _demo_model(made_in)
        assert model is not None  # noqa: S101
        judge = Judge(load(model, device=device), tta=tta)
        site = stack.enter_context(open_site(settings, judge, reference, loinc))
        if site.guard.sign_in and not site.users.any():
            raise ConfigError(
                f"{host} can be reached from other machines, so that people have to sign in, and there is no user yet; "
                f"expected one: hemoscope store user add NAME --role administrator --data-folder {settings.data}"
            )
        if demo:
            _fill(made_in, site)
        log_to(settings.data / "server.log")
        shown = f"[{host}]" if ":" in host else host
        run(
            site,
            held,
            on_ready=lambda: typer.echo(f"http://{shown}:{settings.port}/"),
        )


def need_packages() -> None:
    """Refuse where the extra `serve` is not installed.

    Raises:
        MissingPackageError: With the command that installs it.
    """
    try:
        import alembic  # noqa: F401
        import argon2  # noqa: F401
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import sqlalchemy  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingPackageError.of("the review page", error, extra="serve") from None


def _load(model: Path, device: str):
    from hemoscope.predict.model import load

    return load(model, device=device)


def _demo_model(folder: Path) -> Path:
    from hemoscope.server.demo import make_demo_model

    note(
        "The demo's cells are drawn; they say nothing about blood. The first start makes its model, about a minute."
    )
    with progress() as report:
        return make_demo_model(folder, report)


def _fill(folder: Path, site) -> None:
    from hemoscope.server.demo import fill_demo

    with progress() as report:
        fill_demo(site, folder, report)
