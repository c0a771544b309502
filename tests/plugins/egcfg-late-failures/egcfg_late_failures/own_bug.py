"""Imports a name that the standard library does not have: the plugin's own bug."""

from os import no_such_name  # noqa: F401
