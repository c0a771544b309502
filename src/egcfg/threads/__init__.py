"""Threads in which event loops run, and calls that would hold one up."""
