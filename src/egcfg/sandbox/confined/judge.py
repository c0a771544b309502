"""Placeholder."""


def run_judge(request, report, channel):
    raise RuntimeError("no judge yet")
