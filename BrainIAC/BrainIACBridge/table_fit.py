"""Tables of the panel: rows as high as their texts, and no empty space below them."""

from __future__ import annotations

import qt

FRAME = 4  # pixels of a table's own frame, both sides


def wrapRows(table):
    """Rows grow with their texts, now and when the panel is made narrower: a name that is cut says nothing."""
    table.verticalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    table.horizontalHeader().setHighlightSections(False)


def fit(table, most):
    """Make a table as high as its rows, and at most as ``most`` of them; further ones are scrolled to."""
    heights = [table.rowHeight(row) for row in range(table.property("rowCount"))]
    table.setFixedHeight(table.horizontalHeader().property("sizeHint").height() + sum(heights[:most]) + FRAME)
