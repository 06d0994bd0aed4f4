"""Input `files`: the switch's rotating directory of CDR files. It parses no line and sends nothing."""

from vosship_files.files import Files

__all__ = ["Files"]
