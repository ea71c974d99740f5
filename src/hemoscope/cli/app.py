"""All verbs in one place, in the order in which a user meets them."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from hemoscope.cli import (
    adapt,
    bundle,
    compare,
    data,
    differential,
    evaluate,
    export,
    models,
    predict,
    results,
    serve,
    store,
    stress,
    sweep,
    tracking,
    training,
    tune,
)
from hemoscope.cli.verbs import Verbs

__all__ = ["app"]

VERBS = {
    "demo": training.demo,
    "data": data.app,
    "models": models.list_models,
    "weights": models.weights_app,
    "train": training.train,
    "benchmark": sweep.benchmark,
    "tune": tune.tune,
    "track": tracking.track,
    "evaluate": evaluate.evaluate,
    "stress": stress.stress,
    "ensemble": results.ensemble,
    "compare": compare.compare,
    "report": results.report,
    "bundle": bundle.bundle_app,
    "adapt": adapt.adapt,
    "predict": predict.predict,
    "differential": differential.differential,
    "explain": export.explain,
    "export": export.export,
    "serve": serve.serve,
    "store": store.app,
}


class _InOrder(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  (typer's lists groups last)
        return list(VERBS)


app = Verbs(
    name="hemoscope",
    cls=_InOrder,
    help="Recognise the cells of peripheral blood with deep convolutional networks.",
    no_args_is_help=True,
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


for _name, _verb in VERBS.items():
    if isinstance(_verb, typer.Typer):
        app.add_typer(_verb, name=_name)
    else:
        app.command(_name)(_verb)
