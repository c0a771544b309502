"""The arms of the race, in the order in which they run: each the options of one `egcfg run`."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["ARMS"]

ARMS: Mapping[str, tuple[str, ...]] = {
    "greedy": ("--method=greedy",),
    "best_of_n": ("--method=best_of_n", "-omethod.n=10", "-omethod.greedy_first=false"),
    "best_of_n_default": ("--method=best_of_n",),
    "best_of_40": ("--method=best_of_n", "-omethod.n=40", "-omethod.greedy_first=false"),
    "egcfg": ("--gamma=1",),
    "egcfg_placebo": ("--gamma=1", "-omethod.placebo=true"),
    "retry": ("--method=retry", "-omethod.gamma=-0.3"),
    "retry_placebo": ("--method=retry", "-omethod.gamma=-0.3", "-omethod.placebo=true"),
    "egcfg_signed": ("--gamma=-0.3", "-omethod.signed=true"),
    "egcfg_fast": ("--gamma=1", "-omethod.accept=true", "-omethod.confident=0.7"),
    "cascade": ("--method=cascade",),
    "self_debug": ("--method=self_debug",),
    "smc": ("--method=smc",),
    "egcfg_verdicts": ("--gamma=1", "-omethod.verdicts=mark", "-omethod.order=best_first"),
    "gamma_-0.1": ("--gamma=-0.1",),
    "gamma_-0.5": ("--gamma=-0.5",),
    "gamma_0.5": ("--gamma=0.5",),
    "gamma_1.5": ("--gamma=1.5",),
    "gamma_3": ("--gamma=3",),
}
