"""hemoscope: recognise the cells of peripheral blood with deep convolutional networks."""

__all__ = ["__version__"]

__version__: str


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version  # 50 ms that most imports need not spend

        return version("hemoscope")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
