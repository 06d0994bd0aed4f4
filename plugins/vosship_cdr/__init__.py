"""The processors `cdr` (a line of any VOS3000 layout into typed fields) and `codes` (what its codes mean).

It does not read files, name indices or send anything.
"""

from vosship_cdr.cdr import Cdr
from vosship_cdr.codes import Codes

__all__ = ["Cdr", "Codes"]
