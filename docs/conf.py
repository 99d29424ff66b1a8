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
from docutils import nodes  # noqa: E402
from sphinx_gallery.sorting import ExplicitOrder  # noqa: E402

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
html_title = f"sleep2vec-sklearn {release}"
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
# the sidebar of a section would be empty on the front page, which is above all sections
html_sidebars = {"index": ["site_contents.html"], "**": ["sidebar-nav-bs.html"]}
templates_path = ["_templates"]

myst_enable_extensions = ["colon_fence", "attrs_inline", "substitution"]
myst_substitutions = {"version": release}
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
numpydoc_xref_param_type = False

# in reading order; the gallery sorts its cards by this list
EXAMPLES = (
    "plot_stage_one_night.py",
    "plot_read_your_files.py",
    "plot_watch.py",
    "plot_stage_nights.py",
    "plot_outcome.py",
    "plot_survival.py",
    "plot_events.py",
    "plot_missing_sensors.py",
    "plot_grid_search.py",
    "plot_label_efficiency.py",
    "plot_fine_tune.py",
    "plot_embedding_map.py",
    "plot_retrieval.py",
    "plot_pretrain.py",
    "plot_scaling_law.py",
)

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"plot_",
    "ignore_pattern": r"(demo|__init__)\.py",
    # the wildcard stands for full paths, by which sphinx-gallery asks as well
    "within_subsection_order": ExplicitOrder([*EXAMPLES, "*"]),
    "thumbnail_size": (600, 420),
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


def link_names(app, doctree, docname):
    """Make references of public names in inline code, as ``Recording.rates`` or ``embed(X)``."""
    objects = app.env.get_domain("py").objects
    for literal in list(doctree.findall(nodes.literal)):
        target = api_pages.link_target(literal.astext(), objects)
        # a heading stays plain, and a page does not refer to itself
        taken = isinstance(literal.parent, (nodes.reference, nodes.title))
        if target is None or taken or objects[target].docname == docname:
            continue
        page, anchor = objects[target].docname, objects[target].node_id
        uri = f"{app.builder.get_relative_uri(docname, page)}#{anchor}"
        link = nodes.reference("", "", internal=True, refuri=uri, reftitle=target)
        literal.replace_self(link)
        link += literal


def write_pages(app):
    api_pages.write_pages(DOCS / "api")
    api_pages.write_features(DOCS / "api" / "expert_features.csv")


def setup(app):
    app.connect("builder-inited", write_pages, priority=100)
    app.connect("autodoc-process-docstring", escape_shapes, priority=100)
    app.connect("doctree-resolved", link_names)
