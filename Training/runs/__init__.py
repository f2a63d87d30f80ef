"""Finished runs: what a cell of the grid is, the layout of its folder, and reading it with checks."""
