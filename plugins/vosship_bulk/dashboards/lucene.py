"""Conditions on calls as Lucene query strings, the one language that both products hand to their engine unchanged.

It knows no saved object.
"""

from __future__ import annotations

from vosship.panels import Both, Condition, Is, Not, Under


def lucene(condition: Condition) -> str:
    """The query string; empty for every call."""
    match condition:
        case Is(field, (value,)):
            return f"{field}:{_value(value)}"
        case Is(field, values):
            return f"{field}:({' OR '.join(map(_value, values))})"
        case Under(field, limit):
            return f"{field}:<{limit}"
        case Not(of):
            return f"NOT ({lucene(of)})"
        case Both(parts):
            # A bare NOT inside a conjunction needs something to subtract from, which the query parser adds by itself.
            return " AND ".join(f"({text})" for text in map(lucene, parts) if text)


def _value(value: str | int | bool) -> str:
    """A quoted value: minus signs and spaces are then no operators."""
    return str(value).lower() if isinstance(value, bool) else f'"{value}"'
