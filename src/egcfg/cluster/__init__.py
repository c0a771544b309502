"""Runs spread over a Ray cluster: actors hold the model, the driver claims and keeps results."""
