"""Servers on loopback to test endpoints against: two that serve a model, and faults."""

from __future__ import annotations

from egcfg_backends_fireworks.testing.faults import FAULTS, Faulty
from egcfg_backends_fireworks.testing.llama_server import llama_server
from egcfg_backends_fireworks.testing.loopback import Answer, LoopbackServer
from egcfg_backends_fireworks.testing.served_model import ServedModel, Shape

__all__ = ["FAULTS", "Answer", "Faulty", "LoopbackServer", "ServedModel", "Shape", "llama_server"]
