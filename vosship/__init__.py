"""vosship ships the call detail records of VOS3000 switches and keeps account of every line."""

__version__ = "0.1.0"
