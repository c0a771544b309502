"""A results folder as a page for a browser: one file, or served on this machine."""
