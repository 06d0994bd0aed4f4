"""Compares two copies of the same calls, and gathers what is known of one call: the engine behind `reconcile` and `evidence`."""
