"""Tables of the panel: rows as high as their texts, and no empty space below them."""

from __future__ import annotations

import qt

FRAME = 4  # pixels of a table's own frame, both sides
LEAST = 120  # pixels of a table in a panel that is too low; its rows are scrolled then


def fit(table, most):
    """Make rows as high as their texts, and the table as high as its rows, at most as ``most`` of them."""
    table.resizeRowsToContents()
    heights = [table.rowHeight(row) for row in range(table.property("rowCount"))]
    height = table.horizontalHeader().property("height") + sum(heights[:most]) + FRAME
    table.setMinimumHeight(min(height, LEAST))
    table.setMaximumHeight(height)


def keepFitted(table, most):
    """Fit it again whenever a column gets another width: a name that is cut says nothing."""
    timer = qt.QTimer(table)  # the columns are all laid out when it fires; it ends with the table
    timer.setSingleShot(True)
    timer.setInterval(0)
    timer.timeout.connect(lambda: fit(table, most))
    table.horizontalHeader().setHighlightSections(False)
    table.horizontalHeader().sectionResized.connect(lambda *unused: timer.start())
