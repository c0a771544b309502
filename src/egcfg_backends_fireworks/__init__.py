"""Models behind endpoints: completions and chats. Registers data only: importing it is cheap."""

from __future__ import annotations

from egcfg.plugins.hookspecs import Component, Kind, hookimpl


@hookimpl
def egcfg_components() -> list[Component]:
    """Return the endpoint backends."""
    return [
        Component(
            kind=Kind.BACKEND,
            name="fireworks",
            target="egcfg_backends_fireworks.services:FireworksBackend",
            summary="a model served by Fireworks (needs FIREWORKS_API_KEY)",
            options="egcfg_backends_fireworks.options:EndpointOptions",
            extra="egcfg[fireworks]",
            variables=("FIREWORKS_API_KEY",),
        ),
        Component(
            kind=Kind.BACKEND,
            name="openai",
            target="egcfg_backends_fireworks.services:OpenAIBackend",
            summary="any OpenAI-compatible server: llama.cpp, vLLM, Ollama, ... (needs --base-url)",
            options="egcfg_backends_fireworks.options:EndpointOptions",
            extra="egcfg[openai]",
        ),
    ]
