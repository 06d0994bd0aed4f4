"""The embedded store in a browser: dashboards, lists with facets, one call's page; read-only, on this machine only.

It reads the day files that `vosship_sqlite` writes and changes nothing there. Datasette serves, datasette-dashboards draws.
"""
