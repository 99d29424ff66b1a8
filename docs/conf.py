# SPDX-License-Identifier: BSD-3-Clause
"""Sphinx configuration; ``make docs`` builds docs/_build/html without a network."""

from __future__ import annotations

import os
import re
import sys
import warnings
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]
os.environ.setdefault("OMP_NUM_THREADS", "1")

import api_pages  # noqa: E402

import sleep2vec_sklearn  # noqa: E402

project = "sleep2vec-sklearn"
author = "The sleep2vec-sklearn developers"
project_copyright = author
version = release = sleep2vec_sklearn.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx_gallery.gen_gallery",
]
root_doc = "index"
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
# the tables of execution times load scripts from the web
exclude_patterns = ["_build", "api/backreferences", "**sg_execution_times.rst"]
default_role = "literal"
highlight_language = "python"

html_theme = "pydata_sphinx_theme"
html_title = "sleep2vec-sklearn"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "show_prev_next": True,
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"index": [], "start_here": [], "errors": []}

myst_enable_extensions = ["colon_fence", "attrs_inline"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
numpydoc_xref_param_type = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"plot_",
    "ignore_pattern": r"(demo|__init__)\.py",
    "within_subsection_order": "FileNameSortKey",
    "backreferences_dir": "api/backreferences",
    "doc_module": ("sleep2vec_sklearn",),
    "exclude_implicit_doc": set(),
    "download_all_examples": False,
    "remove_config_comments": True,
    "plot_gallery": "True",
    "min_reported_time": 0,
    "show_memory": False,
    "show_signature": False,
    "parallel": int(os.environ.get("DOCS_JOBS", "1")),
    "reset_modules": ("matplotlib",),
    "image_scrapers": ("matplotlib",),
    "copyfile_regex": r"index\.rst",
}
# sphinx-gallery cannot pickle this configuration
suppress_warnings = ["config.cache"]
# progress bars without ipywidgets
warnings.filterwarnings("ignore", message="IProgress not found")


def escape_shapes(app, what, name, obj, options, lines):
    """Escape trailing underscores of attributes in shapes, which are not references."""
    for index, line in enumerate(lines):
        if "shape (" in line:
            lines[index] = re.sub(r"(?<=\w)_(?=[,)])", r"\\_", line)


def write_pages(app):
    api_pages.write_pages(DOCS / "api")
    api_pages.write_features(DOCS / "api" / "expert_features.csv")


def setup(app):
    app.connect("builder-inited", write_pages, priority=100)
    app.connect("autodoc-process-docstring", escape_shapes, priority=100)
