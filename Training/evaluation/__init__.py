"""Statistics of finished runs: every number of the tables and figures, computed once."""
