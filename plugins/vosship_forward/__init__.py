"""Input `forward`: the switch's real-time report over TCP and UDP, safe on disk before it is answered.

Readable without any receiver: `scan`, `absences` and `span` of a spool directory. It parses no record.
"""

from vosship_forward.forward import Forward
from vosship_forward.shelf import Arrival, absences, scan, span

__all__ = ["Arrival", "Forward", "absences", "scan", "span"]
