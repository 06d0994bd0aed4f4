"""What plugin authors test against: suites that hold a plugin to its contract, and fakes with behaviour of what lies outside."""
