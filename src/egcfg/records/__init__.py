"""What was done for one unit, step by step, kept beside its result."""
