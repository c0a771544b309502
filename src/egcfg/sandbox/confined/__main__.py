"""Starts the fork server: ``python -s -P -S .../confined CONTROL_DESCRIPTOR``."""

from __future__ import annotations

import importlib.util
import os
import sys

NAME = "egcfg_confined"


def main() -> None:
    """Load this folder as a package under a name of its own, and serve."""
    folder = os.path.dirname(os.path.abspath(__file__))
    # A folder run as a script is the first entry of the path: its modules would shadow others.
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != folder]
    spec = importlib.util.spec_from_file_location(
        NAME, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} cannot be loaded")
    package = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = package
    spec.loader.exec_module(package)
    server = importlib.import_module(f"{NAME}.server")
    server.serve(control=int(sys.argv[1]))


if __name__ == "__main__":
    main()
