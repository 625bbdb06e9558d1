"""See build.py: only the name matters to pip."""
