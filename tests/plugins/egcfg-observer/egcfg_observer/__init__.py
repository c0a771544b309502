"""Logs what each unit cost, and stops a run after three in a row that failed."""

import logging

from egcfg import hookimpl

log = logging.getLogger(__name__)


class Observer:
    """Watches one run."""

    failed = 0

    @hookimpl
    def egcfg_unit_finished(self, run, row):
        """Return why the run is to stop; None: it goes on."""
        log.info("task %s of %s took %s tokens", row.task_id, run.dataset, row.output_tokens)
        self.failed = 0 if row.passed else self.failed + 1
        return "three tasks in a row failed" if self.failed == 3 else None


observer = Observer()
