"""hemoscope: recognise the cells of peripheral blood with deep convolutional networks."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hemoscope.predict.model import Model, Verdict, load

__all__ = ["Model", "Verdict", "__version__", "load"]

__version__: str


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # 50 ms that most imports need not spend

        return version("hemoscope")
    if name in ("Model", "Verdict", "load"):
        from hemoscope.predict import model  # torch, which most of the command line does without

        return getattr(model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
