"""Sources of problems: built-in ones, and readers of published files."""
