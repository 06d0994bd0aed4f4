"""Puts the pages together and serves them on this machine, until told to stop.

What is on them is `charts`' and `pages`' business.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from datasette.app import Datasette
from datasette.plugins import pm

from vosship.errors import VosshipError
from vosship_browse.charts import dashboards
from vosship_browse.days import DATABASE, Days
from vosship_browse.pages import STATIC, Pages, Site
from vosship_browse.views import READABLE

HOST = "127.0.0.1"

_HERE = Path(__file__).parent

SETTINGS = {
    "default_page_size": 50,
    "max_returned_rows": 2000,
    "sql_time_limit_ms": 60_000,
    "facet_time_limit_ms": 5_000,
    "default_facet_size": 8,
    "suggest_facets": False,
    "allow_download": False,
    "default_cache_ttl": 0,
}
"""Datasette's settings. Chosen: the reader waits for one's own large days rather than be cut off; pages are never stale."""

FACETS = ("gateway_in", "gateway_out", "end", "hung_up", "country")


def serve(site: Site, port: int, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; `ready` is told the address once connections are taken (`port` 0: any free one).

    Raises VosshipError when there is nothing to show or the port is taken.
    """
    datasette = Datasette(
        files=[], settings=SETTINGS, template_dir=str(_HERE / "templates"), static_mounts=[(STATIC, str(_HERE / "static"))]
    )
    days = Days(datasette, site.directory, site.zone, site.until)
    columns, hours = days.survey()
    if not columns:
        raise VosshipError(f"no calls are stored in {site.directory}", hint="`vosship run` stores them; or is --until too early?")
    datasette.add_database(days, name=DATABASE)
    datasette._metadata_local = _metadata(site, columns, hours)
    _keep_calls_out_of_logs()
    pages = Pages(site)
    pm.register(pages, name=Pages.__name__)
    try:
        with _listener(port) as listener:
            server = uvicorn.Server(uvicorn.Config(datasette.app(), log_level="warning", timeout_graceful_shutdown=2))
            ready(f"http://{HOST}:{listener.getsockname()[1]}/")
            server.run(sockets=[listener])
    finally:
        pm.unregister(pages)


def _keep_calls_out_of_logs() -> None:
    """Datasette would print every error, a page that is not there too, with all variables: calls among them."""
    # Not at the top: imported before datasette.app, this module is registered as a plugin while it is still empty.
    from datasette import handle_exception

    handle_exception.rich = None


def _listener(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
        raise VosshipError(f"port {port} {why}", hint="--port names another one; --port 0 takes any that is free") from error


def _metadata(site: Site, columns: set[str], hours: int) -> dict[str, Any]:
    known = {name for name, field in READABLE if field in columns}
    facets = [name for name in FACETS if name in known]
    listed = {"sort_desc": "stopped", "facets": facets, "size": 50}
    return {
        "title": f"Calls of {site.switch}",
        "plugins": {"datasette-dashboards": dashboards(columns, site.zone.key, hours)},
        "databases": {
            DATABASE: {
                "tables": {
                    "recent": {**listed, "title": "Newest calls"},
                    "calls": {**listed, "title": "All calls"},
                    "fields": {"title": "Every field of every call", "sort_desc": "@timestamp"},
                }
            }
        },
    }
