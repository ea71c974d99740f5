"""How the site is built: `make docs` writes it into build/docs. Nothing is asked of the net, then or by its pages."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "hemoscope"
author = "The authors of hemoscope"
version = release = installed("hemoscope")
html_show_copyright = False

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "pages", "verbs"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_ext", "results/*/tables"]  # the tables are files that pages speak of, not pages
highlight_language = "text"
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

# Docstrings are Google style, and `this` is code in them.
default_role = "code"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = False
autodoc_typehints = "signature"
autodoc_type_aliases = {
    name: name for name in ("File", "FloatArray", "How", "ImageLike", "IntArray", "Policy")
}
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

# Types of other packages have no page here, and those of ours that only pass through have none either.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!hemoscope).*"),
    (r"py:.*", r"hemoscope\.(?!api\b|errors\b|predict\.model\.(Model|Verdict)\b).*"),
]

html_theme = "furo"
html_title = "hemoscope"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"top_of_page_buttons": []}
