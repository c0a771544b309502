"""The endpoint backends keep what every backend promises, each on a server of its shape."""

from __future__ import annotations

from contextlib import ExitStack
from typing import ClassVar

import pytest

from egcfg.testing import LogprobBackendSuite
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions
from egcfg_backends_fireworks.endpoint import EndpointBackend
from egcfg_backends_fireworks.options import EndpointOptions
from egcfg_backends_fireworks.services import FireworksBackend, OpenAIBackend
from egcfg_backends_fireworks.testing import LoopbackServer, ServedModel, Shape


class _Served(LogprobBackendSuite):
    shape: ClassVar[Shape]
    open_now: ClassVar[ExitStack]

    @classmethod
    def make(cls) -> EndpointBackend:
        cls.open_now = ExitStack()
        environment = cls.open_now.enter_context(pytest.MonkeyPatch.context())
        environment.setenv("FIREWORKS_API_KEY", "none")
        environment.setenv("OPENAI_API_KEY", "none")
        scripted = ScriptedBackend(ScriptedOptions(script=lambda text: text[-1:] + "x", noise=0.1))
        model = ServedModel(scripted, cls.shape)
        server = cls.open_now.enter_context(LoopbackServer(model, others=model.others))
        return cls.backend(server.address)

    @classmethod
    def backend(cls, address: str) -> EndpointBackend:
        raise NotImplementedError

    @classmethod
    def teardown_class(cls) -> None:
        super().teardown_class()
        cls.open_now.close()


class TestFireworks(_Served):
    shape = Shape()

    @classmethod
    def backend(cls, address: str) -> EndpointBackend:
        return FireworksBackend(EndpointOptions(model="m", base_url=address, fresh=True))


class TestOpenAI(_Served):
    shape = Shape(echoes=False, routes=True, most_alternatives=20)

    @classmethod
    def backend(cls, address: str) -> EndpointBackend:
        return OpenAIBackend(EndpointOptions(model="m", base_url=f"{address}/v1", fresh=True))


del _Served, LogprobBackendSuite  # pytest would collect them, too
