"""The processor `privacy`: masks, hashes or drops fields, and conceals the raw line, before anything leaves the machine.

It does not know which fields hold personal data: the operator names them. It changes nothing in the agent's own state,
where the raw line is needed to read a dead line again.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from vosship.errors import ConfigError, FatalError
from vosship.events import Field, Record
from vosship.plugin import Context, Remark, nearest
from vosship.schema import ENVELOPE

NUMBERS = (
    "callerE164", "calleeE164", "callerAccessE164", "calleeAccessE164", "callerToGatewayE164", "calleeToGatewayE164",
    "caller.number", "callee.number", "caller.number_sent", "callee.number_sent",
)  # fmt: skip
"""Every field that holds a telephone number of a call: one left out gives the others away."""

GATEWAYS = {f"{side}GatewayId": f"{side}.gateway.name" for side in ("caller", "callee")}
"""Fields that name a gateway, and those that give it away: without a name in the operator's table they hold the id itself."""

ADDRESSES = ("callerIp", "calleeIp")
"""Fields known to hold addresses before any processor has declared its own."""

OWN = frozenset(
    {"@timestamp", "switch", "host", "channel", "tags", "log.file.path", "log.offset", "event.ingested", "event.original"}
)
"""Fields that the core sets itself, besides or after all processors: by them a document is found again and accounted for."""

V4_KEPT_BITS, V6_KEPT_BITS = 24, 48
"""Bits of an address that a mask keeps: the network a provider gives one site, as web statistics commonly truncate."""

HASH_BYTES = 12
"""Bytes of a hash, 16 characters; chosen: as short as a document's id, no two of 10^12 numbers alike by chance."""

MIN_KEY_BYTES = 16
"""Shortest key; chosen: 128 bits cannot be tried out, while the numbers themselves can."""

MAX_REMEMBERED = 16_384
"""Distinct values a rule remembers, about 3 MB; then the memory is emptied."""

_NUMBER = re.compile(
    rb"(?<![0-9])(?:19|20)[0-9]{2}-(?:0[1-9]|1[0-2])-[0-3][0-9](?:[ T][0-9]{2}:[0-9]{2}(?::[0-9]{2})?)?(?![0-9])"
    rb"|(?<![0-9.])(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})\.){3}(?:25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})(?![0-9.])"
    rb"|([0-9](?:[ ().\-/]*[0-9]){4,})"
)
"""In its group what is concealed in a raw line: five digits or more, with what a number may have between them; no code or port is
as long in the switch's pipe layout, no number is shorter. Dates and addresses are passed over."""

_ADDRESS = re.compile(
    rb"(?:[0-9]{1,3}\.){3}[0-9]{1,3}"
    rb"|(?<![0-9A-Fa-f:])[0-9A-Fa-f]{0,4}(?:(?::[0-9A-Fa-f]{0,4}){3,7}|::[0-9A-Fa-f]{0,4}(?![0-9A-Fa-f:]))"
    rb"(?:(?:\.[0-9]{1,3}){3})?"
)
"""IPv4, and IPv6 in full, shortened or around an IPv4 address; a time of day has two colons, and never next to each other."""

_ANYTHING = re.compile(rb"[0-9A-Za-z\x80-\xff]")

Change = Callable[[str], str]


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happens to one field."""

    rule: Annotated[Literal["mask", "hash", "drop"], Meta(description="mask: some characters stay; hash: keyed; drop: gone")]
    keep_first: Annotated[int, Meta(description="characters that a mask leaves at the beginning", ge=0)] = 0
    keep_last: Annotated[int, Meta(description="characters that a mask leaves at the end", ge=0)] = 0


class Privacy:
    """Applies the operator's rules, in the order of the processors: put it last, after countries and destinations.

    `conceal` is for a line that is shown or leaves the machine raw (`event.original`, dead lines), which nobody has parsed:
    what may be a number loses its digits, and addresses theirs where a rule concerns one. Words stay: a name in place of a
    number cannot be told from a gateway's. Where a rule concerns any other column, which may hold anything, nothing of the line
    stays but what separates. A mask of an address keeps its network.
    """

    class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """What `privacy` takes."""

        numbers: Annotated[Rule | None, Meta(description="a rule for every field that holds a telephone number")] = None
        fields: Annotated[dict[str, Rule], Meta(description="rules by field; one here goes before `numbers`")] = {}
        key: Annotated[str, Meta(description="secret of `hash`, 16 bytes or more; from ${ENV}")] = ""
        key_file: Annotated[str, Meta(description="file with that secret, relative to the configuration's folder")] = ""

    def __init__(self, options: Options, context: Context) -> None:
        self._context = context
        self._options = options
        rules = {name: options.numbers for name in NUMBERS if options.numbers} | dict(options.fields)
        if not rules:
            raise ConfigError("no rule is given", hint="`numbers: {rule: mask, keep_first: 6}`, or rules by field in `fields`")
        self._rules: dict[str, Rule] = rules
        self.conceals = frozenset(options.fields)
        self._hashes = any(rule.rule == "hash" for rule in rules.values())
        if self._hashes and bool(options.key) == bool(options.key_file):
            raise ConfigError("`hash` needs one secret", path="key", hint='`key: "${NAME}"` or `key_file: FILE`')
        self._dropped = tuple(name for name, rule in rules.items() if rule.rule == "drop")
        self._changed = tuple((name, self._change(name, rule)) for name, rule in rules.items() if rule.rule != "drop")
        self._addresses = any(self._is_address(name) for name in rules)
        self._numbers = not all(self._is_address(name) for name in rules)
        self._anything = any(self._is_further_column(name) for name in rules)
        self._judged = False
        self.fields: Sequence[Field] = ()
        self._judge()

    def load(self) -> None:
        """Read the key of `hash`; whoever only shows what is stored needs none, and perhaps may not. Raises ConfigError."""
        if self._hashes:
            _ = self._key

    def process(self, records: Sequence[Record]) -> None:
        """Apply the rules. Raises FatalError when a rule names a field nobody declares and the start could not yet tell."""
        if not self._judged:
            self._judge_late()
        dropped, changed = self._dropped, self._changed
        for record in records:
            fields = record.fields
            for name in dropped:
                fields.pop(name, None)
            for name, change in changed:
                value = fields.get(name)
                if value is not None:
                    fields[name] = change(value) if isinstance(value, str) else [change(item) for item in value]

    def conceal(self, line: bytes) -> bytes:
        """The line without what the rules hide, as long as before."""
        if self._anything:
            return _ANYTHING.sub(b"x", line)
        if self._addresses:
            line = _ADDRESS.sub(_crossed, line)
        return _NUMBER.sub(_without_number, line) if self._numbers else line

    def check(self) -> Iterator[Remark]:
        """Fields that hold the same number as one with a rule, or give its gateway away, and have none themselves."""
        open_ = [name for name in NUMBERS if name not in self._rules and name in self._context.schema]
        if open_ and any(name in self._rules for name in NUMBERS):
            yield Remark("warn", f"numbers stay readable in {', '.join(open_)}", "`numbers:` sets a rule for all of them")
        for name, other in GATEWAYS.items():
            if name in self._rules and other not in self._rules and other in self._context.schema:
                yield Remark("warn", f"{other} tells the gateway in {name}", f"a rule for {other}, too")
        yield Remark("good", f"privacy rules for {len(self._rules)} fields")

    def _judge(self) -> None:
        """Check names and types, once all processors have declared their fields."""
        schema = self._context.schema
        own = sorted(OWN & self._rules.keys())
        if own:
            raise ConfigError(f"{own[0]!r} cannot have a rule: the core needs it", path="fields")
        if len(schema) <= len(ENVELOPE):
            return  # processors are being asked for their fields: nobody has declared anything yet
        self._judged = True
        for name, rule in self._options.fields.items():
            field = schema.get(name)
            if field is None:
                known = [each.name for each in schema]
                raise ConfigError(f"no processor declares the field {name!r}", path="fields", hint=nearest(name, known))
            if field.type == "alias":
                raise ConfigError(f"{name!r} is another name of {field.path!r}", path="fields", hint=f"a rule for {field.path}")
            if rule.rule == "hash" and field.type != "keyword":
                raise ConfigError(f"{name!r} is of type {field.type}, which holds no hash", path="fields", hint="mask or drop it")
            if rule.rule == "mask" and field.type not in ("keyword", "ip"):
                raise ConfigError(f"{name!r} is of type {field.type}, which cannot be masked", path="fields", hint="drop it")

    def _judge_late(self) -> None:
        try:
            self._judge()
        except ConfigError as error:
            raise FatalError(error.message, hint=error.hint) from error
        self._judged = True

    @functools.cached_property
    def _key(self) -> bytes:
        options = self._options
        key = options.key.encode()
        if options.key_file:
            path = self._context.base_dir / options.key_file
            try:
                key = path.read_bytes().strip()
            except OSError as error:
                raise ConfigError(f"cannot read {path}: {error.strerror}", path="key_file") from error
        if len(key) < MIN_KEY_BYTES:
            hint = "for instance: openssl rand -hex 32"
            raise ConfigError(f"the secret has {len(key)} bytes, at least {MIN_KEY_BYTES} are needed", path="key", hint=hint)
        return hashlib.blake2b(key, digest_size=32).digest()  # BLAKE2b takes no key longer than 64 bytes

    def _is_address(self, name: str) -> bool:
        field = self._context.schema.get(name)
        return name in ADDRESSES or (field is not None and field.type == "ip")

    def _is_further_column(self, name: str) -> bool:
        """Whether the field may stand in a line and is neither a number nor an address; what processors add has a dot."""
        own = "." not in name or name.startswith("labels.")
        return own and name not in NUMBERS and not self._is_address(name)

    def _change(self, name: str, rule: Rule) -> Change:
        if rule.rule == "hash":
            if self._is_address(name):
                raise ConfigError(f"{name!r} is an address, which holds no hash", path="fields", hint="mask or drop it")
            return _Remembering(lambda value: _hashed(value, self._key)).of
        if self._is_address(name):
            return _Remembering(_network).of
        return _Remembering(_masker(rule.keep_first, rule.keep_last)).of


class _Remembering:
    """A change of values, each distinct one made once while it is remembered."""

    def __init__(self, change: Change) -> None:
        self._change = change
        self._made: dict[str, str] = {}

    def of(self, value: str) -> str:
        made = self._made.get(value)
        if made is None:
            if len(self._made) >= MAX_REMEMBERED:
                self._made.clear()
            made = self._made[value] = self._change(value)
        return made


def _hashed(value: str, key: bytes) -> str:
    made = hashlib.blake2b(value.encode(), key=key, digest_size=HASH_BYTES).digest()
    return base64.urlsafe_b64encode(made).decode()


def _masker(first: int, last: int) -> Change:
    def change(value: str) -> str:
        hidden = len(value) - first - last
        if hidden <= 0:  # shorter than what a mask leaves: all of it would be readable
            return "*" * len(value)
        return value[:first] + "*" * hidden + value[len(value) - last :]

    return change


def _network(value: str) -> str:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return "0.0.0.0"  # noqa: S104 - no listener: the mapping wants an address, and this one is nobody's
    bits = V4_KEPT_BITS if address.version == 4 else V6_KEPT_BITS
    return str(ipaddress.ip_network((address, bits), strict=False).network_address)


def _without_number(found: re.Match[bytes]) -> bytes:
    return _crossed(found) if found.group(1) else found.group()


def _crossed(found: re.Match[bytes]) -> bytes:
    return re.sub(rb"[0-9A-Fa-f]", b"x", found.group())
