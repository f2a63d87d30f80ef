"""Statistics with their uncertainty: arrays in, numbers with intervals out; never NaN, and an error that says why not.

Each file's docstrings give formula, source and a worked example. numpy and scipy only, so that it runs inside Slicer.
Start reading at ``metrics`` and ``bootstrap``.
"""
