"""The method of the paper: settings, loop, branch, candidates, sampling, code, feedback."""
