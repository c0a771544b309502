"""The docs as a site: `make docs` builds it in build/site, and fails on a link to nowhere.

The source folder is the repository itself, so that a page reads the same there and in the site:
links between pages, to plugins.md and to source files are those of the tree.
"""

project = "egcfg"
root_doc = "docs/index"
include_patterns = [
    "docs/*.md",
    "plugins.md",
    "SECURITY.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "README.md",
]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
suppress_warnings = [
    "ref.python",  # a name that several modules offer: autodoc cannot choose, readers can
]
html_theme = "furo"
html_title = "egcfg"
myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_numpy_docstring = False
