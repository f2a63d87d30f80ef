"""Studies from and to other systems, only when asked: a DICOM server over the web, and a node that others send to.

Needs the extra ``dicom`` (dicomweb-client, pynetdicom).
"""
