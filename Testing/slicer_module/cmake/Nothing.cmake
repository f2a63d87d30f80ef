# Empty on purpose: Slicer's use file, config generation and packaging are not part of the test.
