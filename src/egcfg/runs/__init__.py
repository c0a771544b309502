"""Runs over many problems and settings: what to do, what was done, where it is kept."""
