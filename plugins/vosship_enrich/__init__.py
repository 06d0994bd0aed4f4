"""Enrichment: the processors `gateways`, `prefixes`, `geoip` and `privacy`, each in a module of its own.

It does not import them: an entry point names its module, so that what is not configured costs nothing.
"""
