"""A good plugin: problems about exceptions, with a kind of test of their own and its scorer."""

from egcfg import Component, Kind, hookimpl


@hookimpl
def egcfg_components():
    """Return a data set and the scorer of its tests."""
    return [
        Component(
            kind=Kind.DATASET,
            name="raising",
            target="egcfg_raising.dataset:RaisingDataset",
            summary="functions that must refuse some arguments",
        ),
        Component(
            kind=Kind.SCORER,
            name="raising",
            target="egcfg_raising.scorer:RaisingScorer",
            summary="compares the exceptions that calls end in",
        ),
    ]
