"""The bulk request's bytes, and what each answer means for each document."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping

import pytest

from tests.bulk_parts import DAY, NEXT_DAY, document, documents, verdicts
from vosship.errors import TooLargeError, UnavailableError
from vosship_bulk import wire
from vosship_bulk.client import Answer, refuse


def answered(body: bytes, status: int = 200) -> Answer:
    """An answer of a cluster somewhere."""
    return Answer(status, body, "http://search:9200")


def items(*results: Mapping[str, object]) -> Answer:
    """An answer with these items."""
    return answered(json.dumps({"items": [{"create": result} for result in results]}).encode())


def refused(status: int, kind: str, reason: str) -> dict[str, object]:
    """One item that failed."""
    return {"status": status, "error": {"type": kind, "reason": reason}}


def test_request_pairs_a_create_action_with_each_body() -> None:
    """Each document is an action line naming its index and id, then its body as it came; gzip only wraps that."""
    batch = [document(1), document(2, NEXT_DAY)]
    plain = wire.render(batch)
    lines = plain.split(b"\n")
    assert json.loads(lines[0]) == {"create": {"_index": DAY, "_id": "0000000000000001"}}
    assert lines[1] == batch[0].body
    assert json.loads(lines[2]) == {"create": {"_index": NEXT_DAY, "_id": "0000000000000002"}}
    assert lines[3:] == [batch[1].body, b""]
    sent, headers = wire.encode(plain, 1)
    assert headers["content-encoding"] == "gzip"
    assert gzip.decompress(sent) == plain
    assert "content-encoding" not in wire.encode(plain, -1)[1]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"status": 201}, "stored"),
        (refused(409, "version_conflict_engine_exception", "document already exists"), "duplicate"),
        (refused(409, "resource_already_exists_exception", "index is being made"), "retry conflict"),
        (refused(429, "rejected_execution_exception", "queue full"), "retry busy"),
        (refused(503, "unavailable_shards_exception", "primary"), "retry busy"),
        (refused(500, "null_pointer_exception", ""), "retry server_error"),
        (refused(400, "mapper_parsing_exception", "failed to parse field [callerIp]"), "rejected mapping"),
        (refused(400, "document_parsing_exception", "failed to parse field [callerIp]"), "rejected mapping"),
        (refused(400, "strict_dynamic_mapping_exception", "mapping set to strict"), "rejected mapping"),
        (refused(400, "illegal_argument_exception", "immense term"), "rejected refused"),
        (refused(413, "request_too_large", "document"), "rejected too_large"),
        (
            refused(403, "cluster_block_exception", "index [d] blocked by: [FORBIDDEN/8/index write (api)];"),
            "rejected index_blocked",
        ),
        (
            refused(403, "cluster_block_exception", "index [d] blocked by: [FORBIDDEN/5/index read-only (api)];"),
            "rejected index_blocked",
        ),
        (refused(403, "cluster_block_exception", "index [d] blocked by: [FORBIDDEN/4/index closed];"), "rejected index_blocked"),
        (
            refused(429, "cluster_block_exception", "index [d] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded];"),
            "retry disk_full",
        ),
        (
            refused(403, "cluster_block_exception", "index [d] blocked by: [FORBIDDEN/12/read-only / allow delete];"),
            "retry disk_full",
        ),
        (
            refused(
                403, "cluster_block_exception", "index [d] blocked by: [FORBIDDEN/8/index write (api)];[TOO_MANY_REQUESTS/12/disk];"
            ),
            "retry disk_full",
        ),
        (refused(403, "cluster_block_exception", "blocked by: [FORBIDDEN/6/cluster read-only (api)];"), "retry cluster_blocked"),
        (
            refused(403, "cluster_block_exception", "blocked by: [FORBIDDEN/10/cluster create-index blocked (api)];"),
            "retry disk_full",
        ),
        (
            refused(503, "cluster_block_exception", "blocked by: [SERVICE_UNAVAILABLE/1/state not recovered];"),
            "retry cluster_blocked",
        ),
        (refused(400, "index_closed_exception", "closed"), "rejected index_blocked"),
        (
            refused(400, "validation_exception", "this cluster currently has [1000]/[1000] maximum normal shards open;"),
            "rejected index_blocked",
        ),
        (refused(403, "security_exception", "action is unauthorized"), "retry forbidden"),
        (refused(404, "index_not_found_exception", "no such index"), "retry index_missing"),
        ({"status": 503}, "retry busy"),
        ({"status": 409}, "duplicate"),
        (refused(418, "teapot", "short and stout"), "retry unexpected"),
    ],
)
def test_each_refusal_is_judged_by_what_it_says_of_the_document(result: dict[str, object], expected: str) -> None:
    """Only what concerns the document or its day sets it aside; what lifts by itself or is a matter of rights is tried again."""
    assert verdicts(wire.judge(items(result, {"status": 201}), 2)) == [expected, "stored"]


def test_outcomes_keep_the_order_of_the_documents() -> None:
    """An outcome belongs to the document at its position."""
    conflict = refused(409, "version_conflict_engine_exception", "")
    outcomes = wire.judge(items({"status": 201}, conflict, refused(400, "parse_exception", "x"), {"status": 201}), 4)
    assert verdicts(outcomes) == ["stored", "duplicate", "rejected mapping", "stored"]


def test_all_created_needs_no_decoding_and_is_still_counted() -> None:
    """The usual answer is told by comparison, and only for as many items as documents."""
    answer = items(*[{"status": 201}] * 3)
    compact = answered(answer.body.replace(b" ", b""))
    assert verdicts(wire.judge(compact, 3)) == ["stored"] * 3
    with pytest.raises(UnavailableError, match="3 items for 4 documents"):
        wire.judge(compact, 4)


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"items":[{"create":{"status":201}}', b"<html>", b'{"items":[{}]}', b'{"items":[{"create":{}}]}']
)
def test_an_answer_that_cannot_be_read_says_nothing_of_any_document(body: bytes) -> None:
    """Empty, cut, foreign or incomplete: nothing is known."""
    with pytest.raises(UnavailableError):
        wire.judge(answered(body), len(documents(1)))


def test_detail_is_short() -> None:
    """A server's words are cut: they may repeat a value of any length."""
    outcome = wire.judge(items(refused(400, "parse_exception", "x" * 5000)), 1)[0]
    assert len(outcome.detail) == 300


@pytest.mark.parametrize("word", ["max_coordinating_and_primary_bytes", "max_coordinating_bytes"])
def test_a_busy_server_is_told_from_one_that_never_takes_so_much(word: str) -> None:
    """A 429 over a request larger than the server's whole limit halves it; one over what else is under way waits."""
    text = "rejected execution of coordinating operation [all_bytes=%d, coordinating_operation_bytes=%d, %s=50000]"
    for others, mine, too_large in ((0, 50_001, True), (49_000, 2_000, False)):
        body = json.dumps({"error": {"type": "rejected_execution_exception", "reason": text % (others, mine, word)}}).encode()
        assert isinstance(refuse(answered(body, 429), "sending"), TooLargeError) == too_large


def test_only_413_halves_a_request() -> None:
    """A whole request refused for its size is TooLargeError; one refused for anything else is not to be cut in pieces."""
    assert isinstance(refuse(answered(b"", 413), "sending"), TooLargeError)
    for status in (302, 400, 401, 403, 404, 429, 500, 502, 503):
        error = refuse(answered(b"{}", status), "sending")
        assert not isinstance(error, TooLargeError)
        assert str(status) in error.message
        assert "http://search:9200" in error.message
        assert error.hint
