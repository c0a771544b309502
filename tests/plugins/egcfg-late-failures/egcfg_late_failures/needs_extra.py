"""Needs a package that the extra would bring."""

import package_of_the_extra  # noqa: F401
