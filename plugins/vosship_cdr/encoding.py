"""The regular pipe line straight to JSON, past `cdr` and `codes`: nearly every line of a switch's directory.

It decides nothing: what is in any way unusual is left for the processors, and what it gives equals what they give, member for
member (tests/test_cdr_encoding.py holds the two against each other).

Why: the long way takes 63 thousand instructions a record, 35 of them in the two processors (callgrind, 2026-11-20).
Here a line is split, its times and codes are looked up as texts that are JSON already, and the whole is joined. Where further
processors only add (`vosship.plugin.Adds`), or a column is empty, the texts of the line stay fields and are encoded at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import orjson

from vosship.events import Block, Record, Value
from vosship.plugin import Adds, Processor, Writes
from vosship_cdr.splitting import BOM_BYTES
from vosship_cdr.streams import StreamState
from vosship_cdr.values import LONGEST_HOLD_MS, MEMO_ENTRIES, MILLIS, SECONDS, UnfitError

if TYPE_CHECKING:
    from vosship_cdr.cdr import Cdr

_MARKED = bytes(0 if byte < 32 and byte != 10 else 1 for byte in range(256))
"""Control characters become NUL: JSON must escape them (RFC 8259, section 7). Newlines stand between lines, not in them."""

_LONGEST_NUMBER = 18
"""Digits that always fit a `long`."""

End = tuple[str, list[str]]
"""The members that depend on a call's codes alone, and its tags."""


class PipeEncoder:
    """Encodes the lines of settled streams of nineteen columns for one `cdr`, the `codes` that may follow it, and what adds."""

    def __init__(self, cdr: Cdr, codes: Processor | None, adding: Sequence[Adds]) -> None:
        self._cdr = cdr
        self._codes = codes
        self._adding = adding
        self._writing = _writing(adding)
        self._state: StreamState | None = None
        self._ends: dict[tuple[str, str, str, str], End] = {}

    def ready(self, block: Block, lines: Sequence[bytes]) -> bool:
        """See `vosship.plugin.LineEncoder`."""
        self._state = None if block.each is not None else self._cdr.regular(block, lines)
        return self._state is not None and not _needs_escaping(block.data)

    def encode(self, records: Sequence[Record]) -> Sequence[Record]:
        """See `vosship.plugin.LineEncoder`."""
        block, state, final = records[0].block, self._state, records[-1]
        assert state is not None
        first = 1 if records[0].offset == 0 and records[0].line.startswith(BOM_BYTES) else 0
        half = block.unterminated and final.offset + len(final.line) == block.end
        regular = records[first : len(records) - half] if first or half else records
        left, fielded = self._encode(regular, state.earliest_s, state.latest_s)
        if self._writing:
            written = [record for record in regular if record.texts] if left else regular
            for writer in self._writing:
                writer.write(written)
        if fielded:
            for adder in self._adding:
                adder.process(fielded)
        return [*records[:first], *left, *records[max(first, len(records) - half) :]]

    def _encode(self, records: Sequence[Record], earliest_s: int, latest_s: int) -> tuple[list[Record], list[Record]]:
        """Those left to the processors, and those of the others to which processors still have to add."""
        values, ends = self._cdr.values, self._ends
        instants, addresses, received, minutes = values.instants, values.addresses, values.received, values.minutes
        per_unit = 1 if self._cdr.pipe_unit == "ms" else 1000
        writing = bool(self._writing)
        closed = writing or not self._adding
        left: list[Record] = []
        fielded: list[Record] = []
        for record in records:
            try:
                text = record.line.decode()
                (caller, callee, start_text, stop_text, hold_text, reason, direction, caller_gateway, callee_gateway,
                 caller_ip, callee_ip, caller_access, callee_access, caller_out, callee_out, payer, mode,
                 caller_delay, callee_delay) = text.split("|")  # fmt: skip
                start, _, _, start_ms, start_tags = instants[start_text]
                stop, day, stop_s, stop_ms, stop_tags = instants[stop_text]
                caller_ip, callee_ip = addresses[caller_ip], addresses[callee_ip]
                end, tags = ends.get((reason, direction, payer, mode)) or self._end(reason, direction, payer, mode)
            except ValueError:  # another count, bytes in no encoding, or a text that does not fit its column
                left.append(record)
                continue
            if (
                start_tags or stop_tags or stop_ms < start_ms or not earliest_s <= stop_s <= latest_s
                or not _plain(hold_text) or not _plain(caller_delay) or not _plain(callee_delay)
            ):  # fmt: skip
                left.append(record)
                continue
            held = '0,"call.answered":false'
            if hold_text != "0":
                hold_ms = int(hold_text) * per_unit
                answered_ms = stop_ms - hold_ms
                if hold_ms > LONGEST_HOLD_MS or answered_ms < 0:
                    left.append(record)
                    continue
                at_s = answered_ms // 1000
                at = f"{minutes[at_s // 60]}{SECONDS[at_s % 60]}{MILLIS[answered_ms % 1000]}"
                held = f'{hold_ms},"call.answered":true,"call.answered_at":"{at}"'
                if received and answered_ms >= start_ms:
                    held = f'{held},"call.setup_ms":{answered_ms - start_ms}'
            record.day, record.at = day, stop_s
            if writing:
                record.texts = (
                    caller, callee, caller_gateway, callee_gateway, caller_ip, callee_ip, caller_access, callee_access,
                    caller_out, callee_out,
                )  # fmt: skip
            if closed and not tags and text[0] != "|" and "||" not in text:
                record.json = (
                    f'"@timestamp":"{stop}","layout":"pipe","callerE164":"{caller}","calleeE164":"{callee}",'
                    f'"startTime":"{start}","stopTime":"{stop}","holdTime":{held},{end},"callerGatewayId":"{caller_gateway}",'
                    f'"calleeGatewayId":"{callee_gateway}","callerIp":"{caller_ip}","calleeIp":"{callee_ip}",'
                    f'"callerAccessE164":"{caller_access}","calleeAccessE164":"{callee_access}",'
                    f'"callerToGatewayE164":"{caller_out}","calleeToGatewayE164":"{callee_out}",'
                    f'"callerPdd":{caller_delay},"calleePdd":{callee_delay}'
                )
                continue
            record.json = (
                f'"@timestamp":"{stop}","layout":"pipe","startTime":"{start}","stopTime":"{stop}","holdTime":{held},{end},'
                f'"callerPdd":{caller_delay},"calleePdd":{callee_delay}'
            )
            fields: dict[str, Value] = {
                "callerE164": caller, "calleeE164": callee, "callerGatewayId": caller_gateway,
                "calleeGatewayId": callee_gateway, "callerIp": caller_ip, "calleeIp": callee_ip,
                "callerAccessE164": caller_access, "calleeAccessE164": callee_access, "callerToGatewayE164": caller_out,
                "calleeToGatewayE164": callee_out,
            }  # fmt: skip
            if "||" in text or text[0] == "|":
                fields = {name: value for name, value in fields.items() if value}
            if tags:
                fields["tags"] = [*tags]
            record.fields = fields
            if not writing:
                fielded.append(record)
        return left, fielded

    def _end(self, reason: str, direction: str, payer: str, mode: str) -> End:
        """What depends on these four alone, as the processors give it."""
        wholes = self._cdr.values.wholes
        fields: dict[str, Value] = {
            "endReason": reason,
            "endDirection": wholes[direction],
            "calleeBilling": wholes[payer],
            "billingMode": wholes[mode],
        }
        if "" in fields.values():
            raise UnfitError("a code is empty")
        if self._codes is not None:
            record = Record(b"", 0, None, fields)  # type: ignore[arg-type]  # `codes` looks at fields alone
            self._codes.process([record])
            fields = record.fields
        if len(self._ends) >= MEMO_ENTRIES:
            self._ends.clear()
        tags = fields.pop("tags", [])
        assert isinstance(tags, list)
        found = self._ends[reason, direction, payer, mode] = orjson.dumps(fields)[1:-1].decode(), tags
        return found


def _writing(adding: Sequence[Adds]) -> Sequence[Writes]:
    """Those that add, where each can write for itself and none sets what one before it has set, but reads it; else nobody."""
    writing: list[Writes] = []
    written: set[str] = set()
    for processor in adding:
        own = {field.name for field in processor.fields}
        if not isinstance(processor, Writes) or not own & written <= processor.reads:
            return []
        writing.append(processor)
        written |= own
    return writing


def _plain(text: str) -> bool:
    """Whether it is a whole number written as JSON writes one."""
    return text.isdecimal() and text.isascii() and len(text) <= _LONGEST_NUMBER and (text[0] != "0" or text == "0")


def _needs_escaping(data: bytes) -> bool:
    return b'"' in data or b"\\" in data or b"\0" in data.translate(_MARKED)
