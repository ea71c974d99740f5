"""Drawn blood cells: the eight classes after their real morphology, for demos and tests.

The cells are seeded, free to ship and look like a May-Grünwald-Giemsa smear under an analyser's
camera. They stand in for real cells where none are at hand; a score on them says nothing about
patients. `morphology` has the words for a cell and `kinds` the cells as data; `shapes`, `texture` and `cell`
draw one cell, `scene` puts it among red cells, `dataset` writes folders.
"""

from hemoscope.data.synthetic.dataset import write_dataset
from hemoscope.data.synthetic.scene import draw_cell

__all__ = ["draw_cell", "write_dataset"]
