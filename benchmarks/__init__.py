"""What vosship costs, measured against a peer in the same run. `make bench` runs all of it."""
