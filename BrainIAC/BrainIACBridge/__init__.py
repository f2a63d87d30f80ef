"""Between Slicer and BrainIACLib, one class per file: installation, worker process, nodes in and out, study, overlay,
results. Files here may use slicer, qt and vtk; what they compute with comes from the library.
"""
