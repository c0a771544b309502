"""Servers on loopback to test endpoints against: a model behind one, and faults in front of it."""

from __future__ import annotations

from egcfg_backends_fireworks.testing.faults import FAULTS, Faulty
from egcfg_backends_fireworks.testing.loopback import Answer, LoopbackServer
from egcfg_backends_fireworks.testing.served_model import ServedModel

__all__ = ["FAULTS", "Answer", "Faulty", "LoopbackServer", "ServedModel"]
