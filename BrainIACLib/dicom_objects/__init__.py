"""Results as DICOM objects that any archive keeps and any viewer shows: report, maps, segments, a picture.

Needs the extra ``dicom`` (highdicom). The identity of the person goes from the source images into these objects and
nowhere else. ``making.make_objects`` makes them, ``files`` turns them into files and can be imported without highdicom.
"""
