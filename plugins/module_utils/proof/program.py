"""The proof as one file, that a host runs with nothing but its own Python."""

from __future__ import annotations

from ansible_collections.llmhost.core.plugins.module_utils.program_archive import packed as archive
from ansible_collections.llmhost.core.plugins.module_utils.proof.main import main

# Imported, and not only named, so that Ansible sends it along with the module that packs it.
ENTRIES = (main.__module__,)
_START = f'''"""Written by llmhost."""
import sys
from {ENTRIES[0]} import main
sys.exit(main())
'''


def packed() -> bytes:
    """Return the archive with the proof and all that it imports of this collection."""
    return archive(_START, ENTRIES)
