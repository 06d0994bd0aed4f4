"""What `vosship check` says of a cluster: reachable, of which kind, healthy, with room, set up.

It changes nothing there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vosship.errors import UnavailableError
from vosship.plugin import Remark
from vosship_bulk.client import Client, Engine, identify, refuse
from vosship_bulk.installation import Installation
from vosship_bulk.options import Access

DISK_WARN_PERCENT = 80
"""Chosen: both engines stop allocating shards at 85 % and block writing at 95 % by default."""


def examine(
    engine: Engine, connect: Callable[[], Client], installation: Callable[[Client], Installation], access: Access
) -> Iterator[Remark]:
    """Remarks in the order an operator would look. Ends after the first when the cluster cannot be reached."""
    try:
        client = connect()
        yield from _kind(engine, client)
        yield from _health(client)
        yield from _disk(client)
        yield from installation(client).compare()
    except UnavailableError as error:
        yield Remark("bad", error.message, hint=error.hint)
        return
    if not access.verify_certs and any(host.startswith("https:") for host in access.hosts):
        yield Remark("warn", "the server's certificate is not verified", hint="set `ca_certs` and `verify_certs: true`")
    if access.username and any(host.startswith("http:") for host in access.hosts):
        yield Remark("warn", "the password travels in the clear", hint="use https:// in `hosts`")


def _kind(engine: Engine, client: Client) -> Iterator[Remark]:
    answer = client.call("GET", "/")
    if answer.status == 405:  # a distribution without the main page still answers everything else
        yield Remark("good", f"{engine} is reachable; it does not tell its version")
        return
    if answer.status != 200:
        raise refuse(answer, "greeting the cluster")
    found, number = identify(answer)
    if found != engine:
        raise UnavailableError(f"this is {found} {number}, not {engine}", hint=f"use `type: {found}` for this output")
    oldest = 8 if engine == "elasticsearch" else 2
    major = number.split(".")[0]
    if major.isdigit() and int(major) < oldest:
        yield Remark("warn", f"{engine} {number} is older than what vosship is tested with ({oldest})")
    else:
        yield Remark("good", f"{engine} {number} is reachable")


def _health(client: Client) -> Iterator[Remark]:
    answer = client.call("GET", "/_cluster/health")
    if answer.status != 200:
        raise refuse(answer, "asking for the cluster's health")
    health = answer.json()
    status = health.get("status")
    text = f"cluster {health.get('cluster_name')} is {status}, {health.get('number_of_data_nodes')} data node(s)"
    if status == "red":
        yield Remark("bad", text, hint="some shards are missing: see GET _cluster/allocation/explain")
    else:
        yield Remark("good" if status == "green" else "warn", text)


def _disk(client: Client) -> Iterator[Remark]:
    answer = client.call("GET", "/_cat/allocation?format=json&h=node,disk.percent")
    if answer.status in (400, 401, 403, 404, 405):
        yield Remark("warn", "the cluster does not tell how full its disks are", hint="the user may lack the right `monitor`")
        return
    if answer.status != 200:
        raise refuse(answer, "asking for disk use")
    for row in answer.rows():
        percent = str(row.get("disk.percent") or "")
        if percent.isdigit() and int(percent) >= DISK_WARN_PERCENT:
            yield Remark(
                "warn", f"the disk of {row.get('node')} is {percent} % full", hint="at 95 % the cluster takes no more calls"
            )
