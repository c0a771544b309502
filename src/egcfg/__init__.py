"""Execution-guided decoding: language models that write Python while watching it run.

Everything public is listed in the stub beside this file and loaded when it is first used, so that
``import egcfg`` costs milliseconds.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
