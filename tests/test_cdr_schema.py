"""Every field that any golden case of `cdr` sets is declared, with the type its value has."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from tests.test_cases import ALL_CASES, run_case
from vosship.schema import Schema
from vosship_cdr.layout import COLUMNS, LAYOUTS, fields

CDR_CASES = [case for case in ALL_CASES if case.parent.name == "cdr"]

_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def fits(kind: str, value: Any) -> bool:
    """Whether a mapping of that type takes the value without complaint or change."""
    if kind == "keyword":
        return isinstance(value, str) and value != ""
    if kind == "ip":
        return bool(ip_address(value))
    if kind == "date":
        return bool(_DATE.fullmatch(value))
    if kind in ("long", "integer"):
        bits = 63 if kind == "long" else 31
        return type(value) is int and -(2**bits) <= value < 2**bits
    return type(value) is {"double": float, "boolean": bool}[kind]


@pytest.mark.parametrize("case", CDR_CASES, ids=lambda case: case.name)
def test_every_field_set_is_declared_with_its_type(case: Path) -> None:
    """The mapping is strict: an undeclared field or a wrong type would refuse the whole call."""
    records, schema = run_case(case)
    for record in records:
        if record.fate:
            continue
        for name, value in record.fields.items():
            field = schema.get("labels" if name.startswith("labels.") else name)
            assert field is not None, name
            kind = "keyword" if field.type == "object" else field.type
            values = value if field.array else [value]
            assert all(fits(kind, each) for each in values), (name, value)


def test_the_cases_together_set_every_column() -> None:
    """No column of any layout is left without a golden case (`additional` is empty wherever it was seen)."""
    seen: set[str] = set()
    for case in CDR_CASES:
        for record in run_case(case)[0]:
            seen |= record.fields.keys()
    assert COLUMNS.keys() - seen == {"agentAccount", "agentName", "additional"}


def test_every_column_belongs_to_a_layout_and_every_alias_has_its_target() -> None:
    """The table holds nothing unused, and aliases point at fields that exist and are no aliases."""
    used = {column.name for layout in LAYOUTS.values() for column in layout.columns}
    assert used == COLUMNS.keys()
    schema = Schema([("cdr", fields())])
    for field in fields():
        if field.type == "alias":
            target = schema.get(field.path)
            assert target is not None
            assert target.type != "alias"
