"""Finds components, reads their options, and calls them."""
