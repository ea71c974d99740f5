"""All verbs in one place, in the order in which a user meets them."""

from __future__ import annotations

from typing import Annotated

import typer

from hemoscope.cli import data, differential, export, inference, models, results, training

__all__ = ["app"]

app = typer.Typer(
    name="hemoscope",
    help="Recognise the cells of peripheral blood with deep convolutional networks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help in a third less time
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:
    if value:
        from hemoscope import __version__

        typer.echo(f"hemoscope {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and stop."),
    ] = False,
) -> None:
    """Recognise the cells of peripheral blood with deep convolutional networks.

    Research software, not a medical device.
    """


app.command("demo")(training.demo)
app.add_typer(data.app, name="data")
app.command("models")(models.list_models)
app.add_typer(models.weights_app, name="weights")
app.command("train")(training.train)
app.command("benchmark")(training.benchmark)
app.command("evaluate")(results.evaluate)
app.command("ensemble")(results.ensemble)
app.command("report")(results.report)
app.add_typer(inference.bundle_app, name="bundle")
app.command("predict")(inference.predict)
app.command("differential")(differential.differential)
app.command("explain")(export.explain)
app.command("export")(export.export)
