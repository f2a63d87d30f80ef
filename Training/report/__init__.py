"""The report of finished runs, the page of how far they are, and the checklists in it."""
