"""What a plugin is: the protocols, the optional capabilities, and finding one by its name.

It does not configure or run plugins: `config` reads their options, `daemon` runs them.

A plugin is a class with a nested frozen `Options` struct and `__init__(self, options, context)`. The constructor opens
nothing and touches no file beyond checking that options fit together and, where an operator's table adds fields, reading
its title line (it raises ConfigError): every command builds every plugin. No module state: two instances know nothing of
each other. One entry-point line registers it; it is loaded only when named.
"""

from __future__ import annotations

import difflib
import functools
import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import msgspec

from vosship.config import convert
from vosship.errors import ConfigError
from vosship.events import Block, Document, Field, Finding, Gone, Outcome, Position, Record, Stream
from vosship.query import Hit, Query, Row, StatsQuery
from vosship.schema import Schema

Kind = Literal["input", "processor", "detector", "output"]
KINDS: tuple[Kind, ...] = ("input", "processor", "detector", "output")

Known = Mapping[str, Position]
"""Per stream name the newest generation's settled position."""

Until = Literal["forever", "now"]
"""`now`: what is there when reading starts (each stream up to its size then), and no more."""


class Metrics(Protocol):
    """Where a plugin counts. Names are declared in `vosship.telemetry`; an undeclared one raises KeyError."""

    def count(self, name: str, amount: float = 1, **labels: str) -> None: ...
    def set(self, name: str, value: float, **labels: str) -> None: ...
    def observe(self, name: str, value: float, **labels: str) -> None: ...


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What a plugin instance is told of the world.

    `name` is its name in the configuration; `switch`, `timezone` (IANA) and `channel` those of the input it reads or
    belongs to; `schema` joins the fields of all configured processors; `data_dir` is its own folder (not yet made);
    `base_dir` is the configuration file's folder, against which relative paths in options are resolved; `now` gives
    epoch seconds.
    """

    name: str
    switch: str
    timezone: str
    schema: Schema
    log: logging.Logger
    metrics: Metrics
    data_dir: Path
    base_dir: Path
    now: Callable[[], float]
    channel: str = "file"
    switch_parameters: Mapping[str, str | int] = {}


class Input(Protocol):
    """Something that gives blocks of lines.

    `series` is the first part of the day index of its documents (`vos3000-cdr`); `channel` the default channel.
    """

    series: ClassVar[str]
    channel: ClassVar[str]
    fields: Sequence[Field]

    def read(self, known: Known, until: Until) -> AsyncIterator[Block | Gone]:
        """Yield blocks from the settled positions on; called once per pipeline, each call independent of the others.

        Blocks tile each stream and hold whole lines. Order between streams is free (oldest first is expected). A
        Gone follows a stream's last block. Cancelling the iterator is the way to stop it; nothing is saved here:
        only `settle` moves a position.
        """


class Processor(Protocol):
    """A pure step over the records of one block.

    `fields` declares every field it may set. It gets records in order, all of one block and none of them dead or
    filtered; it sets fields, or rejects, or drops. An exception is a bug: the core then runs the records one by one
    and sets the culprit aside. FatalError halts the pipeline with its sentence.
    """

    fields: Sequence[Field]

    def process(self, records: Sequence[Record]) -> None: ...


@runtime_checkable
class Adds(Protocol):
    """A processor that only adds: it reads no field but `reads`, leaves them as they are, and may append to `tags`: for speed.

    A line encoder then gives it records that hold nothing else, instead of stopping short of it. `reads` may name fields that
    it or a processor before it adds.
    """

    reads: frozenset[str]
    fields: Sequence[Field]

    def process(self, records: Sequence[Record]) -> None: ...


TEXTS = (
    "callerE164", "calleeE164", "callerGatewayId", "calleeGatewayId", "callerIp", "calleeIp", "callerAccessE164",
    "calleeAccessE164", "callerToGatewayE164", "calleeToGatewayE164",
)  # fmt: skip
"""The columns that a processor which only adds may read of a regular line, in the order of `Record.texts`."""


@runtime_checkable
class Writes(Protocol):
    """An `Adds` that takes a line's columns as a tuple and writes what it knows as JSON beforehand: for speed.

    An encoder lets it where every processor of the chain can, and none sets what another one sets.
    """

    reads: frozenset[str]
    fields: Sequence[Field]

    def write(self, records: Sequence[Record]) -> None:
        """Like `process`, of records that hold `json`: their columns are in `texts`, as written, and need not be in `fields`.

        Members may be appended to `more`, each behind a comma. What a later processor reads is set in `fields`, or left in `notes`.
        """


class LineEncoder(Protocol):
    """Takes regular lines past a whole chain of processors, straight to JSON, a slice of a block at a time."""

    def ready(self, block: Block, lines: Sequence[bytes]) -> bool:
        """Asked once a block, before its first slice: whether any of its lines may be regular."""

    def encode(self, records: Sequence[Record]) -> Sequence[Record]:
        """Set `json`, `day` and `at` of each record that is regular, and return the others, in order, for the chain.

        The records are fresh, and some of that block. What is set must equal, member for member, what the chain would give:
        `json`, `more` and, besides, what is left in `fields`.
        """


@runtime_checkable
class Encodes(Protocol):
    """A first processor that knows how to encode lines for itself and all that follow it: for speed alone."""

    def encoder(self, following: Sequence[Processor]) -> LineEncoder | None:
        """An encoder for exactly this chain, or None when there is none."""


class DocumentOutput(Protocol):
    """A store of documents.

    `send` is one attempt with exactly one outcome a document, in order; sending the same again is harmless. No
    sleeping, no retrying, no logging per document. STORED means durable. It may be called from several tasks at once.
    UnavailableError: nothing is known of any document. TooLargeError: send the halves. HaltedError: somebody must act.
    """

    async def send(self, batch: Sequence[Document]) -> Sequence[Outcome]: ...


class BlockOutput(Protocol):
    """A taker of whole blocks: takes all of it, or raises UnavailableError."""

    async def send_blocks(self, blocks: Sequence[Block]) -> None: ...


class Detector(Protocol):
    """Watches records, strictly oldest first, and yields findings; `save` is settled with the position."""

    def observe(self, records: Sequence[Record]) -> Iterable[Finding]: ...
    def save(self) -> bytes: ...


@runtime_checkable
class Opens(Protocol):
    """Has something to open before use and to close after; listeners start in `open`."""

    async def open(self) -> None: ...
    async def close(self) -> None: ...


class Remark(msgspec.Struct, frozen=True):
    """One line of `vosship check`: `bad` makes the answer no (exit 3), `warn` does not."""

    level: Literal["good", "warn", "bad"]
    text: str
    hint: str = ""


@runtime_checkable
class Checks(Protocol):
    """Can examine itself and its surroundings without changing anything."""

    def check(self) -> Iterator[Remark]: ...


@runtime_checkable
class SetsUp(Protocol):
    """Installs what its store needs (templates, lifecycle, dashboards); repeatable."""

    def artefacts(self) -> Mapping[str, Any]:
        """What would be installed, by name, as JSON-able bodies (`setup --print`)."""

    def setup(self) -> Iterator[str]:
        """Install or bring up to date; yields a line for each thing done or found unchanged."""


@runtime_checkable
class Searches(Protocol):
    """Can answer a query over what it has stored."""

    def search(self, query: Query) -> Iterator[Hit]:
        """Hits newest first (`@timestamp`, then file and offset), at most `query.limit`."""

    def stats(self, query: StatsQuery) -> list[Row]: ...


@runtime_checkable
class Settled(Protocol):
    """An input that wants to know what is settled (to remove a rescued copy or a spool segment)."""

    def settled(self, pipeline: str, positions: Known) -> None:
        """Called after each settle with the streams that moved (or are gone), and once at the start with every known position."""


@runtime_checkable
class Finishes(Protocol):
    """An input that completes its records once their times are known (lag from stop to arrival)."""

    def finish(self, records: Sequence[Record]) -> None: ...


@runtime_checkable
class Overwrites(Protocol):
    """An output that can replace what it holds (`reship`): like `send`, but a document that exists is replaced."""

    async def overwrite(self, batch: Sequence[Document]) -> Sequence[Outcome]: ...


@runtime_checkable
class Conceals(Protocol):
    """A processor that can make a raw line fit to leave the machine or to be shown. Fields it was told to change may stand in an
    attribute `conceals`: no processor after it may set them."""

    def conceal(self, line: bytes) -> bytes: ...


@runtime_checkable
class Loads(Protocol):
    """A processor that needs more than its options: tables, databases."""

    def load(self) -> None:
        """Read it all, once, before the first record. Raises ConfigError: nothing is started, and `check` answers no."""


SHOWN = 10
"""Things that a notice's sentence names; chosen: what fits a line or two."""


class Notice(msgspec.Struct, frozen=True):
    """What an operator should notice of a processor's work: how often each thing was met, most frequent first (if counted)."""

    subject: str
    counts: Mapping[str, int]
    hint: str = ""

    @property
    def text(self) -> str:
        """A sentence that names the most frequent."""
        if not self.counts:
            return self.subject
        named = ", ".join(f"{name} ({count:,})" for name, count in list(self.counts.items())[:SHOWN])
        more = f", … and {len(self.counts) - SHOWN:,} more" if len(self.counts) > SHOWN else ""
        return f"{self.subject}: {named}{more}"


@runtime_checkable
class Notices(Protocol):
    """A processor that can say what the agent's instances noticed."""

    def keep(self) -> None:
        """Write down what was noticed so far. The agent asks for it now and then and at its end; nobody else's records count."""

    def notices(self) -> Iterator[Notice]:
        """Asked of an instance in a process of its own that saw no record and was perhaps not loaded; raises nothing."""


class StreamSize(msgspec.Struct, frozen=True):
    """What an input sees of one stream now.

    `newest` marks the live one, which has no end yet. `lost`: what is unread of it can be read no more, and each pipeline is
    told so by a Gone when it comes to it. `skipped`: it is left alone on purpose, once a Gone has said so. `kept`: it has a
    second name or a copy, so the switch can delete it without loss; `deleted`: it has done so.
    """

    stream: Stream
    size: int
    modified_at: float
    newest: bool = False
    lost: bool = False
    skipped: bool = False
    kept: bool = False
    deleted: bool = False


@runtime_checkable
class Reports(Protocol):
    """Can list its streams and their present sizes without being opened, oldest first (for `status` and forecasts).

    `size` counts the bytes `read` would give (for a `.gz` file that is finished and settled, the settled offset).
    """

    def survey(self, known: Known) -> Sequence[StreamSize]: ...


class Attendance(msgspec.Struct, frozen=True):
    """When an input could receive: its first and last sign of life and the spans between in which it could not (epoch s)."""

    first_at: float
    last_at: float
    absences: tuple[tuple[float, float], ...] = ()


@runtime_checkable
class Attends(Protocol):
    """An input that can only take what comes while it is there, and knows when it was not."""

    def attendance(self) -> Attendance | None:
        """What the spool shows, whoever may be writing it; None when there never was a sign of life."""


@runtime_checkable
class Hindered(Protocol):
    """An input that knows what it is kept from reading: a directory that is missing, a file without a right."""

    def unreadable(self) -> Mapping[str, str]:
        """By path what the system said, as of the last look; once reading has ended, what was left out. Asked at any time."""


@runtime_checkable
class Narrows(Protocol):
    """An input that can be read in part, apart from any agent."""

    def narrowed(self, streams: Collection[str]) -> Input:
        """An instance that reads only these streams (named as `survey` names them) and changes nothing anywhere."""


@functools.cache
def _found(kind: Kind) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"vosship.{kind}s")}


def names(kind: Kind) -> list[str]:
    """The names of all installed plugins of one kind, sorted."""
    return sorted(_found(kind))


def load(kind: Kind, name: str) -> Any:
    """Return the plugin class registered as `name`.

    Raises ConfigError with the nearest name when there is none, and when a missing extra keeps it from loading.
    """
    point = _found(kind).get(name)
    if point is None:
        raise ConfigError(f"no {kind} of type {name!r} is installed", hint=nearest(name, names(kind)))
    try:
        return point.load()
    except ImportError as error:
        raise ConfigError(
            f"the {kind} {name!r} cannot be loaded: {error}", hint=f"is its extra installed? pip install 'vosship[{name}]'"
        ) from error


def make(kind: Kind, type_name: str, options: Mapping[str, Any], context: Context, path: str) -> Any:
    """Build one configured instance. Raises ConfigError with `path` when the type or an option is wrong."""
    try:
        cls = load(kind, type_name)
        return cls(convert(dict(options), cls.Options, path), context)
    except ConfigError as error:
        if not error.path.startswith(path):
            error.path = ".".join(part for part in (path, error.path) if part)
        raise


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for a misspelt word: the nearest known one, or all of them."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known) or 'none'}"
