"""Broken on purpose: the entry module imports what is not there."""

import package_that_is_nowhere  # noqa: F401
