"""hemoscope: recognise the cells of peripheral blood with deep convolutional networks."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("hemoscope")
