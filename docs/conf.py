"""How Sphinx builds these documents: ``sphinx-build -W docs docs/_build``."""

from __future__ import annotations

from importlib.metadata import version as _version

project = "dcm"
author = "The dcm authors"
release = version = _version("dcm")
extensions = ["sphinx.ext.autodoc", "numpydoc"]
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": "Moves DICOM between PACS and directories", "page_width": "1100px"}
html_show_copyright = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
numpydoc_show_class_members = False
default_role = "code"
