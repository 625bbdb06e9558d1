"""The program of the boot units as one file."""

from __future__ import annotations

from ansible_collections.llmhost.core.plugins.module_utils.boot.bring_back import main as bring_back
from ansible_collections.llmhost.core.plugins.module_utils.boot.main import main as light
from ansible_collections.llmhost.core.plugins.module_utils.program_archive import packed as archive

# Imported, and not only named, so that Ansible sends them along with the module that packs them.
ENTRIES = (light.__module__, bring_back.__module__)
_START = f'''"""Written by llmhost."""
import sys
if sys.argv[1:] == ["storage"]:
    from {ENTRIES[1]} import main
else:
    from {ENTRIES[0]} import main
sys.exit(main())
'''


def packed() -> bytes:
    """Return the archive with the steps and all that they import of this collection."""
    return archive(_START, ENTRIES)
