"""Stands in for the build system that the source archive names, so that pip can fetch the archive and no more.

pip asks a source archive's build system for its metadata before it hands the archive over. Here the archive already
carries that metadata, nothing of it shall be built, and no code from outside shall run to find that out.
"""

from __future__ import annotations

import os
import shutil


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: object = None) -> str:
    """Hand pip the metadata that lies in the archive; pip calls this in the unpacked archive."""
    with open("PKG-INFO", encoding="utf-8") as file:
        fields = dict(line.rstrip("\n").split(": ", 1) for line in file if line.startswith(("Name: ", "Version: ")))
    name = f"{fields['Name'].replace('-', '_')}-{fields['Version']}.dist-info"
    os.mkdir(os.path.join(metadata_directory, name))
    shutil.copyfile("PKG-INFO", os.path.join(metadata_directory, name, "METADATA"))
    return name
