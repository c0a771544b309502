"""Compares methods on the same tasks: what each solves within how many tokens."""
