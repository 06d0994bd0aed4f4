"""The search outputs against a cluster that misbehaves on demand."""

from __future__ import annotations

import base64
import json
import logging
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.bulk_parts import DAY, FIELDS, NEXT_DAY, document, documents, output, send, verdicts
from vosship import cli
from vosship.errors import ConfigError, HaltedError, TooLargeError, UnavailableError
from vosship.events import Field
from vosship.testing.cluster import Cluster, Engine, Fault


@pytest.fixture(params=["opensearch", "elasticsearch"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A fake of each engine in turn."""
    with Cluster(request.param) as running:
        yield running


def test_documents_are_stored_once_however_often_they_are_sent(cluster: Cluster, tmp_path: Path) -> None:
    """A first send stores, a second finds its own traces, and both may share a request."""
    plugin = output(cluster.engine, cluster.url, tmp_path)
    first, second = send(plugin, documents(20), documents(30, first=10))
    assert verdicts(first) == ["stored"] * 20
    assert verdicts(second) == ["duplicate"] * 10 + ["stored"] * 20
    assert cluster.count() == 40
    headers = cluster.bulk_headers[0]
    assert headers["content-encoding"] == "gzip"
    assert headers["content-type"] == "application/x-ndjson"


@pytest.mark.parametrize(
    "fault", [fault for fault in Fault if fault not in (Fault.EVERY_OTHER_BUSY, Fault.ALL_BUSY, Fault.ITEM_ERROR)]
)
def test_a_failed_request_says_nothing_and_is_tried_only_once(cluster: Cluster, fault: Fault, tmp_path: Path) -> None:
    """Whatever breaks the request: one attempt, UnavailableError with place and hint, and afterwards all is there once."""
    plugin = output(cluster.engine, cluster.url, tmp_path, timeout_s=0.3)
    send(plugin, documents(1, NEXT_DAY))
    before = len(cluster.bulk_headers)
    cluster.inject(fault)
    with pytest.raises(UnavailableError) as raised:
        send(plugin, documents(10))
    assert len(cluster.bulk_headers) == before + 1
    assert not isinstance(raised.value, HaltedError)
    assert isinstance(raised.value, TooLargeError) == (fault is Fault.TOO_LARGE)
    assert raised.value.hint
    (again,) = send(plugin, documents(10))
    assert {verdict.split()[0] for verdict in verdicts(again)} <= {"stored", "duplicate"}
    assert cluster.count(DAY) == 10


def test_only_the_busy_items_are_left_to_retry(cluster: Cluster, tmp_path: Path) -> None:
    """A partly refused request gives each document its own outcome."""
    plugin = output(cluster.engine, cluster.url, tmp_path)
    send(plugin, documents(1, NEXT_DAY))
    cluster.inject(Fault.EVERY_OTHER_BUSY, Fault.ALL_BUSY, Fault.ITEM_ERROR)
    some, none, first = send(plugin, documents(4), documents(2, first=10), documents(2, first=20))
    assert verdicts(some) == ["stored", "retry busy"] * 2
    assert verdicts(none) == ["retry busy"] * 2
    assert verdicts(first) == ["retry busy", "stored"]


def test_a_poisoned_document_leaves_its_neighbours_alone(cluster: Cluster, tmp_path: Path) -> None:
    """What cannot be parsed is rejected as `mapping` with the server's reason; an unknown field likewise."""
    cluster.poison = lambda body: "failed to parse field [callerIp]" if body["callerIp"] == "nonsense" else ""
    batch = [document(1), document(2, callerIp="nonsense"), document(3, surprise=1), document(4, **{"labels.team": "x"})]
    (outcomes,) = send(output(cluster.engine, cluster.url, tmp_path), batch)
    assert verdicts(outcomes) == ["stored", "rejected mapping", "rejected mapping", "stored"]
    assert "callerIp" in outcomes[1].detail
    assert "surprise" in outcomes[2].detail


def test_an_old_day_that_is_blocked_or_closed_does_not_hold_the_live_one(cluster: Cluster, tmp_path: Path) -> None:
    """Documents for it are rejected as `index_blocked`, the rest of the same batch is stored."""
    plugin = output(cluster.engine, cluster.url, tmp_path)
    send(plugin, [document(0), document(0, NEXT_DAY)])
    mixed = [document(1), document(1, NEXT_DAY)]
    cluster.indices[DAY].block = "FORBIDDEN/8/index write (api)"
    assert verdicts(send(plugin, mixed)[0]) == ["rejected index_blocked", "stored"]
    cluster.indices[DAY].block, cluster.indices[DAY].closed = "", True
    assert verdicts(send(plugin, mixed)[0]) == ["rejected index_blocked", "duplicate"]
    cluster.indices[DAY].closed = False
    cluster.indices[DAY].block = "TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark"
    assert verdicts(send(plugin, mixed)[0]) == ["retry disk_full", "duplicate"]


def test_a_day_that_the_cluster_will_not_create_does_not_hold_the_others(cluster: Cluster, tmp_path: Path) -> None:
    """At the shard limit the new day is rejected as `index_blocked` without a bulk request; later it is tried again."""
    plugin = output(cluster.engine, cluster.url, tmp_path)
    send(plugin, documents(1))
    cluster.max_indices = 1
    outcomes, only = send(plugin, [document(1), document(1, NEXT_DAY), document(2)], [document(1, NEXT_DAY)])
    assert verdicts(outcomes) == ["stored", "rejected index_blocked", "stored"]
    assert verdicts(only) == ["rejected index_blocked"]
    assert "shards open" in only[0].detail
    assert NEXT_DAY not in cluster.indices


def test_a_run_installs_a_missing_template_and_creates_the_day_by_name(cluster: Cluster, tmp_path: Path) -> None:
    """With `setup: auto`, the first contact installs; the index then carries our mark, and every field."""
    send(output(cluster.engine, cluster.url, tmp_path), documents(1))
    mapped = cluster.indices[DAY].mappings
    assert mapped["dynamic"] == "strict"
    assert mapped["_meta"]["vosship"]["schema"] == 1
    assert mapped["properties"]["callerIp"] == {"type": "ip"}
    assert mapped["properties"]["source"]["properties"]["ip"] == {"type": "alias", "path": "callerIp"}


def test_manual_setup_waits_for_the_template(cluster: Cluster, tmp_path: Path) -> None:
    """With `setup: manual` nothing is installed: the output halts with the command, and goes on after it."""
    plugin = output(cluster.engine, cluster.url, tmp_path, setup="manual")
    with pytest.raises(HaltedError, match="vosship setup"):
        send(plugin, documents(1))
    assert not cluster.templates
    assert not cluster.indices
    assert list(plugin.setup())
    assert verdicts(send(plugin, documents(1))[0]) == ["stored"]


@pytest.mark.parametrize(("setup", "level"), [("auto", "warn"), ("manual", "bad")])
def test_a_missing_template_is_wrong_only_where_no_run_installs_it(
    cluster: Cluster, tmp_path: Path, setup: str, level: str
) -> None:
    """On a fresh server `check` comes before the first `run`, which puts it there."""
    missing = [
        remark for remark in output(cluster.engine, cluster.url, tmp_path, setup=setup).check() if "is missing" in remark.text
    ]
    templates = [remark for remark in missing if "index template" in remark.text]
    assert [remark.level for remark in templates] == [level] * 2
    assert all("`vosship setup`" in remark.hint for remark in missing)
    if setup == "auto":
        assert "`vosship run` installs it" in templates[0].text


def test_a_template_removed_during_a_run_halts_the_next_day_even_with_auto(cluster: Cluster, tmp_path: Path) -> None:
    """Somebody removed it on purpose: today goes on, the new day waits for `vosship setup`, nothing is rejected or guessed."""
    plugin = output(cluster.engine, cluster.url, tmp_path)
    send(plugin, documents(3))
    cluster.templates.clear()
    assert verdicts(send(plugin, documents(1, first=9))[0]) == ["stored"]
    with pytest.raises(HaltedError, match="vosship setup"):
        send(plugin, documents(1, NEXT_DAY))
    assert NEXT_DAY not in cluster.indices
    list(output(cluster.engine, cluster.url, tmp_path).setup())
    assert verdicts(send(plugin, documents(1, NEXT_DAY))[0]) == ["stored"]


def test_a_template_that_differs_is_left_alone_by_a_run_and_mended_by_setup(cluster: Cluster, tmp_path: Path) -> None:
    """A run never overwrites; `check` says what differs; `setup` brings it up to date."""
    plugin = output(cluster.engine, cluster.url, tmp_path)
    list(plugin.setup())
    cluster.templates["vos3000-calls"]["template"]["settings"]["index"]["refresh_interval"] = "30s"
    send(plugin, documents(1))
    assert cluster.templates["vos3000-calls"]["template"]["settings"]["index"]["refresh_interval"] == "30s"
    bad = [remark for remark in plugin.check() if remark.level == "bad"]
    assert len(bad) == 1
    assert 'refresh_interval is "30s"' in bad[0].text
    assert any("brought up to date" in line for line in plugin.setup())
    assert not [remark for remark in plugin.check() if remark.level == "bad"]


def test_a_foreign_index_halts(cluster: Cluster, tmp_path: Path) -> None:
    """An index without our mark is never written, whoever made it."""
    assert not isinstance(cluster.create(DAY), tuple)
    with pytest.raises(HaltedError, match="does not carry vosship's mapping"):
        send(output(cluster.engine, cluster.url, tmp_path), documents(1))
    assert cluster.count() == 0


def test_an_older_index_gets_the_fields_it_lacks(cluster: Cluster, tmp_path: Path) -> None:
    """Fields are only ever added; a contradicting type halts with the difference."""
    send(output(cluster.engine, cluster.url, tmp_path), documents(1))
    more = (*FIELDS, Field(name="callee.number", type="keyword", description="New."))
    newer = output(cluster.engine, cluster.url, tmp_path, fields=more)
    assert verdicts(send(newer, [document(5, **{"callee.number": "1"})])[0]) == ["stored"]
    other = (*FIELDS[2:], Field(name="callerIp", type="keyword", description="Not an address."))
    with pytest.raises(HaltedError, match="maps callerIp as ip, not keyword"):
        send(output(cluster.engine, cluster.url, tmp_path, fields=other), documents(1))


def test_an_index_of_an_unknown_series_halts(cluster: Cluster, tmp_path: Path) -> None:
    """A name that no template covers would get a guessed mapping."""
    with pytest.raises(HaltedError, match="no template covers"):
        send(output(cluster.engine, cluster.url, tmp_path), documents(1, "elsewhere-2026.04.26"))


def test_setup_twice_changes_nothing_and_deletes_nothing_unless_told(cluster: Cluster, tmp_path: Path) -> None:
    """Template and lifecycle are installed, then found unchanged; only `retention_days` brings a deletion."""
    plugin = output(cluster.engine, cluster.url, tmp_path)
    assert [line.split(": ")[1] for line in plugin.setup()] == ["installed"] * 3
    writes = sum(method == "PUT" for method, _, _ in cluster.requests)
    assert [line.split(": ")[1] for line in plugin.setup()] == ["unchanged"] * 3
    assert sum(method == "PUT" for method, _, _ in cluster.requests) == writes
    assert "delete" not in str(cluster.policies)
    keeping = output(cluster.engine, cluster.url, tmp_path, retention_days=90, warm_after_days=2)
    assert any("differs" in remark.text for remark in keeping.check())
    assert "lifecycle policy vos3000: brought up to date" in list(keeping.setup())
    assert "90d" in str(cluster.policies)
    assert all(remark.level == "good" for remark in keeping.check())
    puts = [path for method, path, _ in cluster.requests if method == "PUT" and "polic" in path]
    if cluster.engine == "opensearch":
        assert puts[-1].endswith("?if_seq_no=1&if_primary_term=1")
    settings = cluster.templates["vos3000-calls"]["template"]["settings"]["index"]
    assert ("lifecycle" in settings) == (cluster.engine == "elasticsearch")


def test_a_server_without_lifecycle_gets_templates_and_a_sentence(cluster: Cluster, tmp_path: Path) -> None:
    """A plain distribution has neither ILM nor ISM: setup goes on, and the template names no policy."""
    cluster.lifecycle = False
    plugin = output(cluster.engine, cluster.url, tmp_path, retention_days=90)
    lines = list(plugin.setup())
    assert "absent, the server has no index" in lines[0]
    assert len(cluster.templates) == 2
    assert "lifecycle" not in cluster.templates["vos3000-calls"]["template"]["settings"]["index"]
    assert [remark.level for remark in plugin.check()].count("bad") == 0


def test_a_cluster_that_is_down_is_named_and_later_found_again(cluster: Cluster, tmp_path: Path) -> None:
    """Refused connections say where and what to look at; the same output goes on when the cluster is back."""
    plugin = output(cluster.engine, cluster.url, tmp_path)
    send(plugin, documents(1))
    cluster.down()
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1") as raised:
        send(plugin, documents(2))
    assert "hosts" in raised.value.hint
    (remark,) = plugin.check()
    assert remark.level == "bad"
    cluster.up()
    assert verdicts(send(plugin, documents(2))[0]) == ["duplicate", "stored"]


def test_the_next_host_is_asked_when_one_is_gone(cluster: Cluster, tmp_path: Path) -> None:
    """With several hosts, one that refuses costs an attempt and no more."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        gone = f"http://127.0.0.1:{closed.getsockname()[1]}"
    plugin = output(cluster.engine, cluster.url, tmp_path, hosts=[gone, cluster.url])
    for _ in range(3):
        try:
            assert verdicts(send(plugin, documents(1))[0])
            return
        except UnavailableError:
            continue
    pytest.fail("the host that is there was never asked")


def test_the_wrong_kind_of_server_is_named(tmp_path: Path) -> None:
    """Each output tells when it speaks to the other engine."""
    engines: tuple[Engine, Engine] = ("opensearch", "elasticsearch")
    for mine, other in (engines, engines[::-1]):
        with Cluster(other) as cluster:
            (remark,) = output(mine, cluster.url, tmp_path).check()
            assert remark.level == "bad"
            assert f"type: {other}" in remark.hint


def test_an_answer_without_the_product_header_is_not_believed(tmp_path: Path) -> None:
    """Elasticsearch names itself in every answer; what does not may be anything, and nothing is known of any document."""
    with Cluster("elasticsearch") as cluster:
        plugin = output("elasticsearch", cluster.url, tmp_path)
        send(plugin, documents(1))
        cluster.product_header = False
        with pytest.raises(UnavailableError, match="no product header"):
            send(plugin, documents(1, first=1))


@pytest.mark.parametrize(
    ("options", "header"),
    [
        ({"username": "ship", "password": "s3cret"}, "Basic " + base64.b64encode(b"ship:s3cret").decode()),
        ({"api_key": "a2V5OnMzY3JldA=="}, "ApiKey a2V5OnMzY3JldA=="),
    ],
)
def test_credentials_are_sent_and_never_shown(
    cluster: Cluster, options: dict[str, Any], header: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The header arrives; no message, log or repr repeats a secret, not even at DEBUG and when it is refused."""
    caplog.set_level(logging.DEBUG)
    cluster.authorization = header
    plugin = output(cluster.engine, cluster.url, tmp_path, **options)
    assert verdicts(send(plugin, documents(1))[0]) == ["stored"]
    cluster.authorization = "something else"
    with pytest.raises(UnavailableError, match="401") as raised:
        send(plugin, documents(1))
    shown = "\n".join([str(raised.value), caplog.text, repr(plugin._access), *[remark.text for remark in plugin.check()]])
    for secret in ("s3cret", header.split()[1]):
        assert secret not in shown
    assert "password" in raised.value.hint


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_tls_is_verified_unless_told_otherwise(tmp_path: Path) -> None:
    """A known authority is trusted, an unknown one refused with a hint, and `verify_certs: false` is remarked upon."""
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    stranger.cert_pem.write_to_path(str(tmp_path / "other.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    engines: tuple[Engine, Engine] = ("opensearch", "elasticsearch")
    for engine in engines:
        with Cluster(engine, tls=context) as cluster:
            assert verdicts(send(output(engine, cluster.url, tmp_path, ca_certs="ca.pem"), documents(1))[0]) == ["stored"]
            with pytest.raises(UnavailableError, match="TLS") as raised:
                send(output(engine, cluster.url, tmp_path, ca_certs="other.pem"), documents(1))
            assert "ca_certs" in raised.value.hint
            careless = output(engine, cluster.url, tmp_path, verify_certs=False)
            assert verdicts(send(careless, documents(1))[0]) == ["duplicate"]
            assert any("not verified" in remark.text for remark in careless.check())


def test_our_own_certificate_is_shown_where_it_is_asked_for(tmp_path: Path) -> None:
    """A cluster that insists on client certificates takes ours and refuses a connection without."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    ours = authority.issue_cert("vosship@example.org")
    ours.cert_chain_pems[0].write_to_path(str(tmp_path / "our.pem"))
    ours.private_key_pem.write_to_path(str(tmp_path / "our.key"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    engines: tuple[Engine, Engine] = ("opensearch", "elasticsearch")
    for engine in engines:
        with Cluster(engine, tls=context) as cluster:
            with_it = output(engine, cluster.url, tmp_path, ca_certs="ca.pem", client_cert="our.pem", client_key="our.key")
            assert verdicts(send(with_it, documents(1))[0]) == ["stored"]
            with pytest.raises(UnavailableError):
                send(output(engine, cluster.url, tmp_path, ca_certs="ca.pem"), documents(1))


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"hosts": ["https://user:s3cret@localhost:9200"]}, "hosts[0]"),
        ({"hosts": ["localhost:9200"]}, "hosts[0]"),
        ({"hosts": ["http://localhost:notaport"]}, "hosts[0]"),
        ({"username": "u", "api_key": "s3cret"}, "api_key"),
        ({"password": "s3cret"}, "username"),
        ({"username": "u", "password": "s3cret", "password_file": "x"}, "password_file"),
        ({"username": "u", "password_file": "absent"}, "password_file"),
        ({"ca_certs": "absent.pem"}, "ca_certs"),
        ({"client_key": "absent.pem"}, "client_cert"),
        ({"retention_days": 2, "warm_after_days": 2}, "warm_after_days"),
    ],
)
def test_options_that_do_not_fit_stop_the_start(options: dict[str, Any], path: str, tmp_path: Path) -> None:
    """Each contradiction names its option and repeats no secret."""
    with pytest.raises(ConfigError) as raised:
        output("opensearch", "http://localhost:9200", tmp_path, **options)
    assert raised.value.path == f"outputs.search.{path}"
    assert "s3cret" not in str(raised.value)


def test_a_password_is_read_from_its_file(cluster: Cluster, tmp_path: Path) -> None:
    """The file's last newline does not count."""
    (tmp_path / "secret").write_text("s3cret\n")
    cluster.authorization = "Basic " + base64.b64encode(b"ship:s3cret").decode()
    plugin = output(cluster.engine, cluster.url, tmp_path, username="ship", password_file="secret")
    assert verdicts(send(plugin, documents(1))[0]) == ["stored"]


def test_setup_reports_as_json_too(cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object on standard output, all else on standard error."""
    config = tmp_path / "vosship.yaml"
    config.write_text(
        f"switch: s1\ntimezone: UTC\ndata_dir: data\ninputs: {{cdr: {{type: files, paths: [cdr]}}}}\n"
        f"outputs: {{out: {{type: {cluster.engine}, hosts: ['{cluster.url}']}}, own: {{type: sqlite}}}}\n",
        encoding="utf-8",
    )
    for done in ("installed", "unchanged"):
        assert cli.run(["setup", "--json", "-c", str(config)]) == 0
        said = capsys.readouterr()
        (output_,) = json.loads(said.out)["outputs"]
        assert output_["name"] == "out"
        assert f"index template vos3000-calls: {done}" in output_["steps"]
        assert said.err.splitlines() == [f"out: {step}" for step in output_["steps"]]
