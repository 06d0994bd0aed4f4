"""The processor `codes`: every code of a call in words, and what is in no table."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.test_cdr import block, context
from vosship.config import convert
from vosship.errors import ConfigError
from vosship.pipeline import records_of
from vosship_cdr import Codes
from vosship_cdr.code_tables import NETWORK_SUCCESS, Q850, SIP
from vosship_cdr.codes import CodesOptions


def coded(fields: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The fields the processor adds to these."""
    (record,) = records_of(block(b"line"))
    record.fields = dict(fields)
    Codes(convert(options, CodesOptions, ""), context()).process([record])
    return {name: value for name, value in record.fields.items() if name not in fields}


@pytest.mark.parametrize(
    ("reason", "code", "text", "kind"),
    [
        ("200", 200, "OK", "success"),
        ("302", 302, "Moved Temporarily", "redirect"),
        ("486", 486, "Busy Here", "client"),
        ("503", 503, "Service Unavailable", "server"),
        ("603", 603, "Decline", "global"),
        ("16", 16, "Normal call clearing", "q850"),
        ("100", 100, "Invalid information element contents", "q850"),
        ("127", 127, "Interworking, unspecified", "q850"),
        ("-9", -9, "Illegal call: number or address not authorised", "vendor"),
    ],
)
def test_a_known_end_reason_has_code_text_and_class(reason: str, code: int, text: str, kind: str) -> None:
    """SIP, Q.850 (a final 100 to 127 is never provisional SIP) and the vendor's own numbers."""
    assert coded({"endReason": reason}) == {"end.code": code, "end.text": text, "end.class": kind}


@pytest.mark.parametrize("reason", ["499", "-1234", "0", "700", "128", "Busy now", "99999999999999"])
def test_an_unknown_end_reason_is_kept_marked_and_tagged(reason: str) -> None:
    """What is in no table stays `unknown`, is tagged so that it is counted, and is never given words."""
    found = coded({"endReason": reason})
    assert found["end.class"] == "unknown"
    assert found["tags"] == ["unknown_end_reason"]
    assert "end.text" not in found
    assert found.get("end.code", 0) == (int(reason) if re.fullmatch(r"-?\d{1,4}", reason) else 0)


def test_an_unknown_end_reason_does_not_disturb_earlier_tags() -> None:
    """Tags of the line stay, and the list of one record is not shared with another."""
    tags = ["gb18030"]
    (record,) = records_of(block(b"line"))
    record.fields = {"endReason": "499", "tags": tags}
    Codes(CodesOptions(), context()).process([record])
    assert record.fields["tags"] == ["gb18030", "unknown_end_reason"]
    assert tags == ["gb18030"]


def test_an_operators_table_adds_and_corrects() -> None:
    """An own entry names an unknown code and overrides a known one; a text reason can be named too."""
    own = {
        "-69": {"text": "No route"},
        "200": {"text": "Fine", "class": "success"},
        "Busy now": {"text": "Busy", "class": "client"},
    }
    assert coded({"endReason": "-69"}, codes=own) == {"end.code": -69, "end.text": "No route", "end.class": "vendor"}
    assert coded({"endReason": "200"}, codes=own)["end.text"] == "Fine"
    assert coded({"endReason": "Busy now"}, codes=own) == {"end.text": "Busy", "end.class": "client"}


def test_an_unknown_class_stops_the_start() -> None:
    """A class that searches do not know is a configuration error with its place."""
    with pytest.raises(ConfigError) as caught:
        Codes(convert({"codes": {"-69": {"text": "x", "class": "router"}}}, CodesOptions, ""), context())
    assert caught.value.path == "codes.-69.class"


def test_direction_mode_and_payer_have_words() -> None:
    """The codes as published, those seen in the web API too; another value gets no word."""
    assert [coded({"endDirection": code})["end.by"] for code in (0, 1, 2)] == ["caller", "callee", "server"]
    words = [coded({"billingMode": code})["billing.account_type"] for code in (-1, 0, 1, 2, 3)]
    assert words == ["none", "phone", "gateway", "bound", "card"]
    assert [coded({"calleeBilling": code})["billing.party"] for code in (0, 1, 2)] == ["caller", "callee", "external"]
    assert coded({"endDirection": 7, "billingMode": 9}) == {}


def test_the_tables_are_whole() -> None:
    """As many final SIP responses as IANA's registry held in 2026, Q.850 from end to end, and NER's stated choices."""
    finals = [code for code in SIP if code >= 200]
    assert (len(finals), min(finals), max(finals)) == (69, 200, 608)
    assert {1, 16, 17, 34, 41, 102, 111, 127} <= Q850.keys()
    assert not {200, 408, 503, 403} & NETWORK_SUCCESS.keys()
    assert {486, 600, 480, 487, 603, 404, 410, 484, -7} <= NETWORK_SUCCESS.keys()
