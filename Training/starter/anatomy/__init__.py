"""Recipe of the bundled anatomy network: deformed heads of known structure, every contrast, shares per structure."""
