"""The processor `geoip`: country, city and network of both sides' addresses, from MaxMind database files.

It does not fetch databases: an operator's own job puts them there, and a new file is taken up while running.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import maxminddb
import msgspec
from msgspec import Meta

from vosship.errors import ConfigError
from vosship.events import Field, Record
from vosship.plugin import Context, Notice, Remark
from vosship_enrich.memory import Memory
from vosship_enrich.tables import Watched

MAX_REMEMBERED = 8192
"""Distinct addresses whose fields are remembered, about 4 MB; then the memory is emptied. Gateways have few addresses."""

Found = dict[str, str | int]
"""What the databases say of one address, by the end of the field's name (`geo.country`)."""


class Geoip:
    """Adds `geo.*` and `as.*` of `callerIp` and `calleeIp`; private and reserved addresses get nothing.

    `load` opens the databases. Replace one by renaming a new file over it: it is mapped into memory, and writing into it
    would change what is being read.
    """

    class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """What `geoip` takes: at least one database."""

        city: Annotated[str, Meta(description="City or Country database (.mmdb), relative to the configuration's folder")] = ""
        asn: Annotated[str, Meta(description="ASN or ISP database (.mmdb), likewise")] = ""
        language: Annotated[str, Meta(description="language of city names, as the database spells it", min_length=1)] = "en"
        reload_s: Annotated[float, Meta(description="how often to look whether a database has changed", gt=0)] = 60.0

    reads = frozenset({"callerIp", "calleeIp"})

    def __init__(self, options: Options, context: Context) -> None:
        if not options.city and not options.asn:
            raise ConfigError("no database is named", hint="give `city`, `asn` or both")
        self._language = options.language
        self._city = self._watch("city", options.city, options, context)
        self._asn = self._watch("asn", options.asn, options, context)
        named = ((self._city, options.city), (self._asn, options.asn))
        self._watched = [(each, Memory(context.data_dir, name, context.log)) for each, name in named if each is not None]
        self._remembered: dict[str, Found] = {}
        self._readers: tuple[Any, Any] = (None, None)
        self.fields: Sequence[Field] = _FIELDS

    def load(self) -> None:
        """Open the databases. Raises ConfigError at the option that names the one that cannot be used."""
        for watched, _ in self._watched:
            watched.load()

    def process(self, records: Sequence[Record]) -> None:
        """Set what the databases know of both addresses."""
        readers = self._current()
        if readers != self._readers:
            self._readers = readers
            self._remembered.clear()
        remembered = self._remembered
        for record in records:
            fields = record.fields
            for column, names in _SIDES:
                address = fields.get(column)
                if address:
                    found = remembered.get(address)
                    if found is None:
                        found = self._remember(address)
                    for name, value in found.items():
                        fields[names[name]] = value

    def keep(self) -> None:
        """Leave what became of the databases for `check` and `status`, which run in processes of their own."""
        for watched, memory in self._watched:
            memory.save(watched)

    def notices(self) -> Iterator[Notice]:
        """Which databases the agent could not take up."""
        for watched, memory in self._watched:
            yield from memory.notices(watched)

    def check(self) -> Iterator[Remark]:
        """Which databases are open and how old they are, and whether they can still be read."""
        self._current(wait=True)
        for watched, _ in self._watched:
            if watched.trouble:
                yield Remark("bad", watched.trouble, "put a whole database there; the agent goes on with the old one")
            about = watched.value.metadata()
            yield Remark("good", f"{watched.path}: {about.database_type}, {about.node_count} nodes")
        for notice in self.notices():
            yield Remark("warn", notice.text, notice.hint)

    def _watch(self, option: str, name: str, options: Options, context: Context) -> Watched[maxminddb.Reader] | None:
        if not name:
            return None
        return Watched(context.base_dir / name, _opener(option), reload_s=options.reload_s, now=context.now, log=context.log)

    def _current(self, *, wait: bool = False) -> tuple[Any, Any]:
        for watched, _ in self._watched:
            watched.look()
            if wait:
                watched.wait()
        return (self._city and self._city.value, self._asn and self._asn.value)

    def _remember(self, address: str) -> Found:
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        found = self._remembered[address] = self._find(address)
        return found

    def _find(self, address: str) -> Found:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return {}
        if not parsed.is_global:
            return {}
        city, asn = self._readers
        try:
            place: Any = city.get(parsed) if city else None
            network: Any = asn.get(parsed) if asn else None
        except (ValueError, maxminddb.InvalidDatabaseError):  # an IPv6 address in an IPv4 database; damage at this place
            return {}
        location = _part(place, "location")
        latitude, longitude = _of(location, "latitude", (int, float)), _of(location, "longitude", (int, float))
        found: dict[str, Any] = {
            "geo.country": _of(_part(place, "country"), "iso_code", str),
            "geo.city": _of(_part(_part(place, "city"), "names"), self._language, str),
            "geo.location": None if latitude is None or longitude is None else f"{latitude},{longitude}",
            "as.number": _of(network, "autonomous_system_number", int),
            "as.organization": _of(network, "autonomous_system_organization", str),
        }
        return {name: value for name, value in found.items() if value is not None}


def _part(place: Any, name: str) -> Any:
    """What lies below that name; nothing where the database is laid out otherwise than MaxMind's."""
    return place.get(name) if isinstance(place, dict) else None


def _of(place: Any, name: str, kind: type | tuple[type, ...]) -> Any:
    value = _part(place, name)
    return value if isinstance(value, kind) else None


def _opener(option: str) -> Callable[[Path], maxminddb.Reader]:
    def load(path: Path) -> maxminddb.Reader:
        try:
            reader = maxminddb.open_database(path)
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}", path=option) from error
        except (maxminddb.InvalidDatabaseError, ValueError) as error:
            raise ConfigError(f"{path} is no MaxMind database: {error}", path=option, hint="an .mmdb file, unpacked") from error
        kind = reader.metadata().database_type
        for other, words in _KNOWN_BY.items():
            if other != option and any(word in kind for word in words) and not any(word in kind for word in _KNOWN_BY[option]):
                raise ConfigError(f"{path} is a database of type {kind}", path=option, hint=f"it belongs to `{other}`")
        return reader

    return load


_KNOWN_BY = {"city": ("City", "Country", "Enterprise"), "asn": ("ASN", "ISP")}
"""Words in the types of the databases that an option takes, as MaxMind and DB-IP call them."""


_KINDS = (
    ("geo.country", "keyword", "ISO 3166 alpha-2 of the address in {column}."),
    ("geo.city", "keyword", "City of the address in {column}."),
    ("geo.location", "geo_point", "Where the address in {column} is, as `latitude,longitude`."),
    ("as.number", "long", "Number of the network that announces the address in {column}."),
    ("as.organization", "keyword", "Who runs the network of the address in {column}."),
)
_SIDES = tuple((f"{side}Ip", {name: f"{side}.{name}" for name, _, _ in _KINDS}) for side in ("caller", "callee"))
_FIELDS = tuple(
    Field(name=names[name], type=kind, description=text.format(column=column))  # type: ignore[arg-type]  # the words are FieldTypes
    for column, names in _SIDES
    for name, kind, text in _KINDS
)
