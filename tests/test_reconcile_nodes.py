"""`vosship reconcile` and `evidence` against real OpenSearch and Elasticsearch nodes."""

from __future__ import annotations

import json
import os

import pytest

from tests import nodes
from tests.reconcile_parts import DAY, FAULTS, Place, place

__all__ = ["place"]

pytestmark = pytest.mark.real_server

CALLS = int(os.environ.get("VOSSHIP_RECONCILE_CALLS", "4000"))


def test_a_real_index_gives_the_simulators_own_classes(place: Place, search_node: nodes.Node) -> None:
    """Files against spool and index, and the index against the files: classes exact and repeatable; differences are searchable."""
    place.configure(store=f'type: {search_node.engine}, hosts: ["{search_node.url}"]')
    truth = place.simulate(CALLS, faults=FAULTS)
    place.ship()
    spool = [place.run("reconcile", "--left", "cdr", "--right", "forward", "--json", *DAY) for _ in range(2)]
    assert spool[0] == spool[1]
    assert spool[0][0] == 3
    assert {word: json.loads(spool[0][1])["classes"][word] for word in truth} == truth
    code, report = place.reconcile("cdr", "store:forward", "--index")
    assert code == 3
    assert {word: report["classes"][word] for word in truth} == truth
    code, report = place.reconcile("store", "cdr")
    assert (code, report["classes"]["matched"]) == (0, len(place.lines()))
    search_node.call("POST", "/_refresh")
    _, out = place.run("search", *DAY, "--channel", "reconcile", "--resends", "--limit", str(CALLS), "--json")
    assert len(out.splitlines()) == sum(count for word, count in truth.items() if word != "matched")
    line = place.lines()[50].decode().rstrip("\n")
    _, out = place.run("evidence", "--number", line.split("|")[1], "--at", line.split("|")[3], "--json")
    found = json.loads(out)
    assert found["proved"] is True
    assert found["copies"][-1]["kind"] == "index"
