"""Judging completions that were made elsewhere: no model is involved."""
