"""A whole study: every series named from its header and from its image, the best one for each slot, one report."""
