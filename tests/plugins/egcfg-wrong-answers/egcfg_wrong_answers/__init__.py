"""Loads well and works, until an option asks for one of the faults that a plugin can have."""

from egcfg import Component, Kind, hookimpl

CLASSES = {
    Kind.BACKEND: "backend:WrongBackend",
    Kind.TRACER: "others:WrongTracer",
    Kind.GUIDANCE: "others:WrongGuidance",
    Kind.METHOD: "method:WrongMethod",
    Kind.PROMPT: "others:WrongPrompt",
    Kind.SCORER: "others:WrongScorer",
}


@hookimpl
def egcfg_components():
    """Return one component of each kind that a task uses."""
    return [
        Component(
            kind=kind,
            name="wrong",
            target=f"egcfg_wrong_answers.{target}",
            summary="answers wrongly on request",
        )
        for kind, target in CLASSES.items()
    ]
