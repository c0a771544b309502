"""A good plugin: importing it is cheap, the classes come when selected."""

from egcfg import Component, Kind, hookimpl


@hookimpl
def egcfg_components():
    """Return what this plugin brings."""
    return [
        Component(
            kind=Kind.TRACER,
            name="results",
            target="egcfg_results.tracer:ResultsTracer",
            summary="only what each call returns",
        ),
        Component(
            kind=Kind.SCORER,
            name="survives",
            target="egcfg_results.scorer:SurvivesScorer",
            summary="passes what runs without an exception",
        ),
        Component(
            kind=Kind.GUIDANCE,
            name="surer",
            target="egcfg_results.guidance:SurerBranch",
            summary="the branch whose likeliest token is likelier",
        ),
        Component(
            kind=Kind.METHOD,
            name="retell",
            target="egcfg_results.method:Retell",
            summary="answers that know which tests the last one failed",
        ),
    ]
