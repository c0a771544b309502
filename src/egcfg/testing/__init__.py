"""Tests of components: a conformance suite for each kind, and models that answer by a script.

A plugin's test module subclasses the suite of its kind, which pytest then collects::

    from egcfg.testing import TracerSuite

    class TestMyTracer(TracerSuite):
        name = "mine"

``egcfg plugins check mine`` runs the same suite without a test module. Importing this package loads
no suite: pytest imports it in every environment in which egcfg is installed.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
