"""The processor `gateways`: names an operator's gateways, customers and vendors, and strips technical prefixes.

It does not look numbers up: `prefixes`, configured after it, does.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from vosship.errors import ConfigError
from vosship.events import Field, Record
from vosship.plugin import Context, Notice, Remark
from vosship_enrich import numbers
from vosship_enrich.memory import Memory, write_whole
from vosship_enrich.numbers import NO_RULES, Between, Rules, reduce
from vosship_enrich.tables import Table, TableOptions, Watched, declared, headings, members, wrong

COLUMNS = ("id", "name", "customer", "vendor", "side", "strip_caller", "strip_callee")
SIDES = ("caller", "callee")

MAX_UNMATCHED = 1000
"""Distinct ids without a row that are counted one by one; chosen: a list nobody reads to its end."""

MAX_PAIRS = 4096
"""Pairs of gateways remembered, about 3 MB; chosen: a switch has a few hundred, and hostile ids must not grow the memory."""


class Gateway(msgspec.Struct, frozen=True):
    """One row for one side: the fields it sets, and the rules for the caller's and the callee's number."""

    fields: tuple[tuple[str, str], ...]
    labels: dict[str, str]
    strip_caller: Rules
    strip_callee: Rules


UNKNOWN = Gateway((), {}, NO_RULES, NO_RULES)

Ids = tuple[str | None, str | None]
"""A call's incoming and outgoing gateway, as its record names them."""


class Pair(msgspec.Struct, frozen=True):
    """What two gateways give a call between them: fields, labels in which they differ, ids without a row, rules for numbers.

    `members` are fields and differing labels as JSON.
    """

    fields: Mapping[str, str]
    differing: Mapping[str, Sequence[str]]
    members: str
    missing: Sequence[str]
    between: Between


class Known:
    """Per side the gateways by id, and by name where the name is nobody else's; the pairs met; and the labels they may set."""

    def __init__(self, sides: Mapping[str, Mapping[str, Gateway]], labels: Sequence[str], rows: int) -> None:
        self.sides, self.labels, self.rows = sides, labels, rows
        self.pairs: dict[Ids, Pair] = {}

    def pair(self, ids: Ids) -> Pair:
        """The pair of these ids, remembered in `pairs`."""
        if met := self.pairs.get(ids):
            return met
        gateways = [self.sides[side].get(name) if name else UNKNOWN for side, name in zip(SIDES, ids, strict=True)]
        incoming, outgoing = (gateway or UNKNOWN for gateway in gateways)
        labels = {**incoming.labels, **outgoing.labels}
        both = {name: [incoming.labels.get(name, value), value] for name, value in outgoing.labels.items()}
        differing = {name: values for name, values in both.items() if values[0] != values[1]}
        missing = [name for name, gateway in zip(ids, gateways, strict=True) if name and gateway is None]
        fields = {**dict(incoming.fields), **dict(outgoing.fields), **labels}
        pair = Pair(
            fields,
            differing,
            members({**fields, **differing}),
            missing,
            Between((incoming.strip_caller, outgoing.strip_caller), (incoming.strip_callee, outgoing.strip_callee)),
        )
        if len(self.pairs) >= MAX_PAIRS:
            self.pairs.clear()
        self.pairs[ids] = pair
        return pair


class Gateways:
    """Joins a table of gateways to `callerGatewayId` (incoming) and `calleeGatewayId` (outgoing).

    The constructor reads the table's title line, for the fields that it declares, and `load` the rest. Later changes are
    taken up while running; a column that is new then waits for a restart, because the fields are declared by now.
    """

    class Options(TableOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """What `gateways` takes."""

    reads = numbers.READS | {"callerGatewayId", "calleeGatewayId"}

    def __init__(self, options: Options, context: Context) -> None:
        self._options, self._context = options, context
        self._headings = headings(options.columns, COLUMNS)
        path = context.base_dir / options.table
        self._memory = Memory(context.data_dir, options.table, context.log)
        self._labels = self._memory.labels_of(lambda: self._title(path))
        self._table: Watched[Known] = Watched(path, self._load, reload_s=options.reload_s, now=context.now, log=context.log)
        self._unmatched: dict[str, int] = {}
        self._unsaved = False
        self.fields: Sequence[Field] = (*_FIELDS, *numbers.FIELDS, *(_label(name) for name in self._labels))

    def load(self) -> None:
        """Read the table, and go on with the counts of the agent before. Raises ConfigError with the table's file and line."""
        self._table.load()
        self._unmatched = self._without_row(self._read(self._file()))

    def process(self, records: Sequence[Record]) -> None:
        """Set both sides' gateway fields and numbers; ids without a row are counted and otherwise left alone."""
        known = self._known()
        for record in records:
            fields = record.fields
            get = fields.get
            pair = known.pair((get("callerGatewayId"), get("calleeGatewayId")))
            fields.update(pair.fields)
            fields.update({name: list(values) for name, values in pair.differing.items()})
            for name in pair.missing:
                self._miss(name)
            caller, callee = get("callerE164") or get("callerAccessE164", ""), get("calleeE164") or get("calleeAccessE164", "")
            caller_out, callee_out = get("callerToGatewayE164", ""), get("calleeToGatewayE164", "")
            numbers.set_fields(fields, reduce(caller, caller_out, callee, callee_out, pair.between))

    def write(self, records: Sequence[Record]) -> None:
        """See `vosship.plugin.Writes`; the four numbers are left in `notes`."""
        known = self._known()
        pairs = known.pairs
        for record in records:
            caller, callee, incoming, outgoing, _, _, caller_in, callee_in, caller_out, callee_out = record.texts
            pair = pairs.get((incoming, outgoing)) or known.pair((incoming, outgoing))
            if pair.missing:
                for name in pair.missing:
                    self._miss(name)
            between, lead, both = pair.between, callee_out.removesuffix(callee), caller + callee
            if (  # most calls: what `reduce` would give, without calling it
                caller and callee and caller == caller_out and lead in between.leads and (not lead or lead != callee_out)
                and caller[0] not in between.caller_firsts and callee[0] not in between.callee_firsts and both.isascii()
                and both.encode().isdigit()
            ):  # fmt: skip
                record.notes = (caller, "", callee, "")
                record.more = f'{record.more}{pair.members},"caller.number":"{caller}","callee.number":"{callee}"'
            else:
                notes = reduce(caller or caller_in, caller_out, callee or callee_in, callee_out, between)
                record.notes = notes
                record.more = f"{record.more}{pair.members}{numbers.members(notes)}"

    def _known(self) -> Known:
        self._table.look()
        return self._table.value

    def unmatched(self) -> Mapping[str, int]:
        """How many times each id without a row was seen; under "" those past the first thousand."""
        return self._unmatched

    def keep(self) -> None:
        """Leave the counts, and what became of the table, for `check` and `status`, which run in processes of their own."""
        self._memory.save(self._table, self._labels)
        if self._unsaved:
            self._unsaved = False
            write_whole(self._file(), msgspec.json.encode(self._unmatched), self._context.log)

    def check(self) -> Iterator[Remark]:
        """What the table holds, whether it can still be read, and which ids a running agent found no row for."""
        table = self._table
        table.look()
        table.wait()
        if table.trouble:
            yield Remark("bad", table.trouble, "mend the table; the agent goes on with the old one")
        yield Remark("good", f"{table.path}: {table.value.rows} gateways")
        for notice in self.notices():
            yield Remark("warn", notice.text, notice.hint)

    def notices(self) -> Iterator[Notice]:
        """Whether the agent could not take up the table, and which ids it found no row for, less those that have one by now."""
        yield from self._memory.notices(self._table)
        self._table.look()
        missing = self._saved()
        if missing:
            worst = sorted(missing, key=lambda name: (-missing[name], name))
            counts = {name or "(others)": missing[name] for name in worst}
            yield Notice("gateways without a row", counts, f"add them to {self._table.path}, then `vosship reship`")

    def _title(self, path: Path) -> Table:
        return Table(path, self._headings, ("id",), delimiter=self._options.delimiter, labels=self._options.labels)

    def _load(self, path: Path) -> Known:
        table = self._title(path)
        labels = declared(table, self._labels, self._context.log)
        known: dict[str, dict[str, Gateway]] = {side: {} for side in SIDES}
        lines: dict[tuple[str, str], int] = {}
        by_name: dict[str, dict[str, list[Gateway]]] = {side: {} for side in SIDES}
        places = [table.place(name) for name in COLUMNS]
        for line, cells in table.rows():
            key, name, customer, vendor, side, strip_caller, strip_callee = (
                cells[place].strip() if place >= 0 else "" for place in places
            )
            if not key:
                raise wrong(path, line, f"the column {self._headings['id']!r} is empty")
            if side and side not in SIDES:
                raise wrong(path, line, f"the side is {side!r}", "caller (incoming), callee (outgoing), or empty for both")
            try:
                rules = numbers.parse_rules(strip_caller), numbers.parse_rules(strip_callee)
            except ValueError as error:
                raise wrong(path, line, str(error)) from error
            own = {label: cells[place].strip() for label, place in labels if cells[place].strip()}
            for each in (side,) if side else SIDES:
                first = lines.setdefault((each, key), line)
                if first != line:
                    raise wrong(path, line, f"the gateway {key!r} stands twice, first in line {first}", "one row an id and side")
                values = {"gateway.name": name or key, "customer": customer, "vendor": vendor}
                fields = tuple((f"{each}.{word}", value) for word, value in values.items() if value)
                gateway = Gateway(fields, own, *rules)
                known[each][key] = gateway
                by_name[each].setdefault(name, []).append(gateway)
        for each, named in by_name.items():
            for name, found in named.items():
                if name and len(found) == 1:
                    known[each].setdefault(name, found[0])
        return Known(known, self._labels, len({key for _, key in lines}))

    def _miss(self, name: str) -> None:
        unmatched = self._unmatched
        if name not in unmatched and len(unmatched) >= MAX_UNMATCHED:
            name = ""
        unmatched[name] = unmatched.get(name, 0) + 1
        self._unsaved = True

    def _file(self) -> Path:
        """Where the counts are left; one a switch and channel."""
        name = re.sub(r"[^\w.-]", "_", f"{self._context.switch}-{self._context.channel}")
        return self._context.data_dir / f"unmatched-{name}.json"

    @staticmethod
    def _read(path: Path) -> dict[str, int]:
        try:
            return msgspec.json.decode(path.read_bytes(), type=dict[str, int])
        except (OSError, msgspec.DecodeError):
            return {}  # not there, or half written by a machine that fell: it is written again

    def _saved(self) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for path in self._context.data_dir.glob("unmatched-*.json"):
            counts.update(self._read(path))
        return self._without_row(counts)

    def _without_row(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Those counts whose id has still no row."""
        try:
            known = self._table.value.sides
        except ConfigError:
            return dict(counts)  # which ids have a row cannot be told; `check` says why
        return {name: count for name, count in counts.items() if name not in known["caller"] and name not in known["callee"]}


def _label(name: str) -> Field:
    return Field(name=name, type="keyword", description="From the operator's table of gateways; both sides' where they differ.")


_FIELDS = tuple(
    Field(name=f"{side}.{word}", type="keyword", description=text.format(column=f"{side}GatewayId"))
    for side in SIDES
    for word, text in (
        ("gateway.name", "Name of the gateway in `{column}`, from the operator's table."),
        ("customer", "The customer the table gives for the gateway in `{column}`."),
        ("vendor", "The vendor the table gives for the gateway in `{column}`."),
    )
)
