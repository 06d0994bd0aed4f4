"""The pages of our own beside Datasette's, and the manners of all of them: this machine only, local files only.

It starts no server (`server` does).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote
from zoneinfo import ZoneInfo

from datasette import hookimpl
from datasette.utils import tilde_decode
from datasette.utils.asgi import NotFound, Response

from vosship.plugin import Searches
from vosship.query import Query
from vosship_browse import call
from vosship_browse.days import DATABASE, day_files

FOUND_LIMIT = 200
"""Calls that a search for a number shows. Chosen: more is a matter for a list with facets."""

HOSTS = {"localhost", "127.0.0.1", "[::1]"}
"""Names by which this machine may be asked: a page elsewhere that points its own name here (DNS rebinding) is refused."""

STATIC = "vosship"
"""Where our own style sheet is mounted."""

Scope = dict[str, Any]
App = Callable[..., Awaitable[None]]


class Site(NamedTuple):
    """What is browsed."""

    switch: str
    zone: ZoneInfo
    directory: Path
    store: Searches
    until: str = ""


class Pages:
    """Hooks of Datasette for one site."""

    __name__ = "vosship_browse.pages"

    def __init__(self, site: Site) -> None:
        self._site = site

    @hookimpl  # type: ignore[untyped-decorator]  # Datasette carries no types
    def register_routes(self) -> list[tuple[str, Callable[..., Any]]]:
        return [
            (r"^/$", self.home),
            (r"^/find$", self.find),
            (r"^/call/(?P<key>[^/]+)$", self.call),
            (rf"^/{DATABASE}/(recent|calls)/(?P<key>[^/]+)$", self.call),
        ]

    @hookimpl  # type: ignore[untyped-decorator]  # as above
    def menu_links(self, datasette: Any) -> list[dict[str, str]]:
        tables = (("Newest calls", "recent"), ("All calls", "calls"))
        return [{"href": datasette.urls.table(DATABASE, name), "label": title} for title, name in tables]

    @hookimpl  # type: ignore[untyped-decorator]  # as above
    def extra_css_urls(self) -> list[str]:
        return [f"/{STATIC}/browse.css"]

    @hookimpl  # type: ignore[untyped-decorator]  # as above
    def extra_template_vars(self) -> dict[str, Any]:
        return {"site": self._site, "zone": self._site.zone.key}

    @hookimpl  # type: ignore[untyped-decorator]  # as above
    def render_cell(self, value: Any, column: str, database: str) -> str | None:
        if database != DATABASE or not isinstance(value, float):
            return None
        return f"{value:,.1f}" if column in ("seconds", "pdd_s", "pdd_out_s") else None

    @hookimpl  # type: ignore[untyped-decorator]  # as above
    def asgi_wrapper(self) -> Callable[[App], App]:
        return _only_this_machine

    async def home(self, datasette: Any, request: Any) -> Response:
        """Where everything is."""
        context = {
            "days": [day for day, _ in day_files(self._site.directory, self._site.until)],
            "dashboards": datasette.plugin_config("datasette-dashboards"),
        }
        return Response.html(await datasette.render_template("home.html", context, request=request))

    async def find(self, datasette: Any, request: Any) -> Response:
        """Calls of a number, through the store's own search: instant however many days there are."""
        number = request.args.get("number", "").strip()
        hits = await asyncio.to_thread(self._search, number) if number.strip("*") else []
        context = {"number": number, "hits": hits, "limit": FOUND_LIMIT}
        return Response.html(await datasette.render_template("find.html", context, request=request))

    def _search(self, number: str) -> list[dict[str, Any]]:
        query = Query(from_ms=0, to_ms=1 << 53, number=number, channel="all", resends=True, limit=FOUND_LIMIT)
        found = []
        for hit in self._site.store.search(query):
            stopped = datetime.fromisoformat(hit.fields["@timestamp"]).astimezone(self._site.zone)
            key = f"{hit.index}!{hit.fields['log.offset']}!{hit.id}"
            found.append({**hit.fields, "stopped": f"{stopped:%Y-%m-%d %H:%M:%S}", "address": f"/call/{quote(key, safe='!')}"})
        return found

    async def call(self, datasette: Any, request: Any) -> Response:
        """One call, whole."""
        key = tilde_decode(request.url_vars["key"])
        try:
            found = await asyncio.to_thread(call.find, self._site.directory, key, self._site.zone)
        except sqlite3.Error as error:
            raise NotFound(f"That day cannot be read: {error}") from error
        if found is None:
            raise NotFound("There is no such call")
        return Response.html(await datasette.render_template("call.html", {"call": found}, request=request))


def _only_this_machine(app: App) -> App:
    async def guarded(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
            if host.rpartition(":")[0] not in HOSTS and host not in HOSTS:
                await Response.text("This page is for this machine only.", status=403).asgi_send(send)
                return
        await app(scope, receive, send)

    return guarded
