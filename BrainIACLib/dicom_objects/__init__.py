"""Results as DICOM objects that any archive keeps and any viewer shows: report, maps, segments, a picture.

Needs the extra ``dicom`` (highdicom). The identity of the person goes from the source images into these objects and
nowhere else.
"""

from BrainIACLib.dicom_objects.making import MadeObjects, make_objects

__all__ = ["MadeObjects", "make_objects"]
