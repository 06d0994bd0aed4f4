"""The processor `prefixes`: the destination of a call from the operator's rate deck, and both sides' countries.

It does not know technical prefixes: `gateways`, configured before it, strips them. Without it the numbers are taken as
they stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

from msgspec import Meta

from vosship.events import Field, Record
from vosship.plugin import TEXTS, Context, Notice, Remark
from vosship_enrich import numbers
from vosship_enrich.countries import HEAD, Countries
from vosship_enrich.deck import ALWAYS, LONGEST, Builder, Deck, DuplicateError, Row, Shape
from vosship_enrich.memory import Memory
from vosship_enrich.numbers import NO_BETWEEN, Numbers, reduce
from vosship_enrich.tables import Table, TableOptions, Watched, declared, headings, members, wrong

COLUMNS = ("prefix", "destination", "country", "valid_from")

Found = tuple[dict[str, str], str, str, str, str]
"""What a row of the deck gives: fields, the same as JSON members, the country it names, the one that its prefix alone tells, and
the members with the country of a number that is sent as billed; empty where that hangs on more or is another one than named."""

NOTHING: Found = ({}, "", "", "", "")
"""Of a number without a row."""

_COUNTRIES = ("caller.country", "callee.country")

_COUNTRY = re.compile(r"[A-Za-z]{2}")

_RANGE = re.compile(r"\+?([0-9]{4,}) ?- ?\+?([0-9]{4,})")
"""Two whole prefixes with a hyphen; what `1-242` has before it is a calling code, of three digits at most."""


class Prefixes:
    """Finds `callee.destination` by the longest prefix of the number as billed, and the countries of both sides.

    The country comes from the number as sent out, and from the one as billed where that has none. The constructor reads
    the deck's title line, for the fields that it declares, and `load` the rest; later changes are taken up while running.
    """

    class Options(TableOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """What `prefixes` takes. Without a `table` it finds countries only."""

        table: Annotated[str, Meta(description="the rate deck, CSV with a title line; empty: countries only")] = ""
        valid_from_format: Annotated[
            str, Meta(description="how `valid_from` is written, as for strptime (default: ISO, 2026-05-01 or 2026-05-01 06:00)")
        ] = ""

    reads = numbers.READS | {field.name for field in numbers.FIELDS}

    def __init__(self, options: Options, context: Context) -> None:
        self._options, self._context = options, context
        self._zone = ZoneInfo(context.timezone)
        self._headings = headings(options.columns, COLUMNS)
        self._countries = Countries()
        self._labels: list[str] = []
        self._memory = Memory(context.data_dir, options.table, context.log)
        self._deck: Watched[Deck[Found]] | None = None
        if options.table:
            path = context.base_dir / options.table
            self._labels = self._memory.labels_of(lambda: self._title(path))
            self._deck = Watched(path, self._load, reload_s=options.reload_s, now=context.now, log=context.log)
        labels = [Field(name=name, type="keyword", description="From the row of the rate deck.") for name in self._labels]
        self.fields: Sequence[Field] = (*numbers.FIELDS, *_FIELDS, *labels)

    def load(self) -> None:
        """Read the deck. Raises ConfigError with its file and line."""
        if self._deck is not None:
            self._deck.load()

    def process(self, records: Sequence[Record]) -> None:
        """Set destination, the prefix that matched and the countries; tag `country_mismatch` where deck and number differ."""
        self._add(records, written=False)

    def write(self, records: Sequence[Record]) -> None:
        """See `vosship.plugin.Writes`."""
        self._add(records, written=True)

    def _add(self, records: Sequence[Record], *, written: bool) -> None:
        match = None
        if self._deck is not None:
            self._deck.look()
            match = self._deck.value.match
        country_of, plain = self._countries.of, self._countries.plain.get
        for record in records:
            caller, caller_sent, callee, callee_sent = record.notes or _numbers(record)
            number = caller_sent or caller
            origin = number and (plain(number[:HEAD]) or country_of(number) or country_of(caller))
            given, given_members, stated, own, whole = match(callee, record.at) if callee and match else NOTHING
            if written and whole and not callee_sent:  # most calls
                record.more = f'{record.more}{whole},"caller.country":"{origin}"' if origin else record.more + whole
                continue
            own = own or country_of(callee)
            expected = stated or own
            country = country_of(callee_sent) or own or expected
            countries = {name: found for name, found in zip(_COUNTRIES, (origin, country), strict=True) if found}
            if written:
                record.more += given_members + members(countries)
            else:
                record.fields.update(given, **countries)
            if expected and expected != country:
                record.fields["tags"] = [*record.fields.get("tags", ()), "country_mismatch"]

    def check(self) -> Iterator[Remark]:
        """How many prefixes there are, and whether the deck can still be read."""
        watched = self._deck
        if watched is None:
            yield Remark("good", "countries of all calling codes; no rate deck is configured")
            return
        watched.look()
        watched.wait()
        if watched.trouble:
            yield Remark("bad", watched.trouble, "mend the table; the agent goes on with the old one")
        yield Remark("good", f"{watched.path}: {len(watched.value)} prefixes")
        for notice in self.notices():
            yield Remark("warn", notice.text, notice.hint)

    def keep(self) -> None:
        """Leave what became of the deck for `check` and `status`, which run in processes of their own."""
        if self._deck is not None:
            self._memory.save(self._deck, self._labels)

    def notices(self) -> Iterator[Notice]:
        """Whether the agent could not take up the deck."""
        if self._deck is not None:
            yield from self._memory.notices(self._deck)

    def _title(self, path: Path) -> Table:
        required = ("prefix", "destination")
        return Table(path, self._headings, required, delimiter=self._options.delimiter, labels=self._options.labels)

    def _load(self, path: Path) -> Deck[Found]:
        table = self._title(path)
        labels = declared(table, self._labels, self._context.log)
        builder = Builder(len(labels))
        prefix_at, destination_at, country_at, valid_at = (table.place(name) for name in COLUMNS)
        label_places = [place for _, place in labels]
        times: dict[str, int] = {"": ALWAYS}
        for line, cells in table.rows():
            written = cells[prefix_at].strip()
            prefix = numbers.digits(written)
            if not prefix or len(prefix) > LONGEST or (prefix != written and _is_no_single(written)):
                raise wrong(path, line, f"{cells[prefix_at]!r} is no prefix", f"1 to {LONGEST} digits, one prefix a row")
            destination = cells[destination_at].strip()
            if not destination:
                raise wrong(path, line, f"the prefix {prefix} has no destination")
            country = cells[country_at].strip() if country_at >= 0 else ""
            if country and not _COUNTRY.fullmatch(country):
                hint = 'an ISO 3166 code such as BD; `columns: {country: ""}` leaves the column out'
                raise wrong(path, line, f"{country!r} is no country code", hint)
            when = cells[valid_at].strip() if valid_at >= 0 else ""
            since = times.get(when)
            if since is None:
                since = times[when] = self._since(path, line, when)
            further = [cells[place].strip() for place in label_places]
            builder.add(line, prefix, since, (country.upper(), destination), further)
        try:
            return builder.build(_shape([name for name, _ in labels], self._countries), NOTHING)
        except DuplicateError as error:
            sentence = f"the prefix {error.prefix!r} stands twice, first in line {error.first}"
            raise wrong(path, error.second, sentence, "rows of one prefix need different `valid_from`") from error

    def _since(self, path: Path, line: int, when: str) -> int:
        pattern = self._options.valid_from_format
        try:
            moment = datetime.strptime(when, pattern) if pattern else datetime.fromisoformat(when)
        except ValueError as error:
            hint = f"written as {pattern}" if pattern else "an ISO date such as 2026-05-01, or `valid_from_format`"
            raise wrong(path, line, f"{when!r} is no date", hint) from error
        return int((moment if moment.tzinfo else moment.replace(tzinfo=self._zone)).timestamp())


def _is_no_single(written: str) -> bool:
    """Whether a prefix was written as two (`8801/8802`, `8801-8804`) or as a spreadsheet's decimal (`880.0`): joined it would be
    one that no number has."""
    bounds = _RANGE.fullmatch(written)
    return "." in written or "/" in written or bool(bounds and len(bounds[1]) == len(bounds[2]) and bounds[1] < bounds[2])


def _numbers(record: Record) -> Numbers:
    """The four numbers: where a processor before has set none of a side's two, they are set here, as they stand."""
    fields = record.fields
    texts = dict(zip(TEXTS, record.texts, strict=True)) if record.texts else fields
    billed = [texts.get(f"{side}E164") or texts.get(f"{side}AccessE164") or "" for side in ("caller", "callee")]
    caller_out, callee_out = (texts.get(f"{side}ToGatewayE164") or "" for side in ("caller", "callee"))
    plain = reduce(billed[0], caller_out, billed[1], callee_out, NO_BETWEEN)
    for side, found in (("caller", plain[:2]), ("callee", plain[2:])):
        names = f"{side}.number", f"{side}.number_sent"
        if not any(name in fields for name in names):
            fields.update({name: text for name, text in zip(names, found, strict=True) if text})
    caller, caller_sent, callee, callee_sent = (fields.get(name, "") for name in numbers.NAMES)
    return caller, caller_sent, callee, callee_sent


def _shape(labels: Sequence[str], countries: Countries) -> Shape[Found]:
    """Makes what a match gives: destination, prefix and, where the row has them, labels; and the countries."""

    def shape(prefix: str, row: Row, further: Sequence[str]) -> Found:
        stated, destination = row
        labelled = {name: value for name, value in zip(labels, further, strict=True) if value}
        fields = {"callee.destination_prefix": prefix, "callee.destination": destination, **labelled}
        own = countries.of(prefix)
        settled = own and stated in ("", own)
        return fields, members(fields), stated, own, members({**fields, "callee.country": own}) if settled else ""

    return shape


_FIELDS = (
    Field(name="caller.country", type="keyword", description="ISO 3166 alpha-2 of the caller's number as sent, else as billed."),
    Field(name="callee.country", type="keyword", description="ISO 3166 alpha-2 of the callee's number as sent, else as billed."),
    Field(name="callee.destination", type="keyword", description="Destination of the number as billed, from the operator's deck."),
    Field(name="callee.destination_prefix", type="keyword", description="The prefix in the deck that matched: which rule it was."),
)
