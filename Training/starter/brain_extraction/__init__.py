"""Recipe of the bundled brain extraction: synthetic heads of any contrast, a small U-Net, a distance to the border."""
