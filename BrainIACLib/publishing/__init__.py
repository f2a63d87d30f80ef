"""How files get onto the disk: whole or not at all, as a set or not at all, one writer at a time, and kept.

After a kill at any moment, or a power cut, a file or a set of files is the old one or the new one. ``replacing``,
``write_bytes`` and ``write_text`` write one file, ``publishing_set`` several that belong together, ``publish_folder``
a new folder; ``locked`` keeps a second writer out, ``Journal`` keeps what a long run has finished.
"""

from BrainIACLib.publishing.files import remove_unfinished, replacing, sync_folder, write_bytes, write_text
from BrainIACLib.publishing.folders import publish_folder, replace_folder, staging_folder
from BrainIACLib.publishing.journal import Journal
from BrainIACLib.publishing.lock import Busy, locked
from BrainIACLib.publishing.sets import publishing_set, recover_sets

__all__ = [
    "Busy",
    "Journal",
    "locked",
    "publish_folder",
    "publishing_set",
    "recover_sets",
    "remove_unfinished",
    "replace_folder",
    "replacing",
    "staging_folder",
    "sync_folder",
    "write_bytes",
    "write_text",
]
