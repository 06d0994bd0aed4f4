"""Output `relay`: the same lines, byte for byte, to a further TCP or UDP receiver, at least once.

It parses no record beyond the one time it may sort by, and keeps no account: the core does.
"""

from vosship_relay.relay import Relay

__all__ = ["Relay"]
