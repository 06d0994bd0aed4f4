"""The options both outputs take, and how they fit together.

It opens no connection: `client` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from vosship.errors import ConfigError

Source = Literal["stored", "packed", "derived"]
"""Where a document's JSON comes from: kept as it was sent, kept among its like, or put together by the engine from its columns."""

SOURCES: tuple[Source, ...] = get_args(Source)


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the cluster is, who we are there, and how its indices are kept."""

    hosts: Annotated[list[str], Meta(description="URLs of the cluster's nodes, asked in turn", min_length=1)] = msgspec.field(
        default_factory=lambda: ["http://localhost:9200"]
    )
    username: Annotated[str, Meta(description="user for basic authentication")] = ""
    password: Annotated[str, Meta(description="its password, best as ${VARIABLE}")] = ""
    password_file: Annotated[str, Meta(description="a file holding the password, in place of `password`")] = ""
    api_key: Annotated[str, Meta(description="API key as the server encoded it, in place of a user")] = ""
    ca_certs: Annotated[str, Meta(description="PEM file of authorities to trust (default: the public ones, of certifi)")] = ""
    verify_certs: Annotated[bool, Meta(description="refuse a certificate that cannot be verified")] = True
    client_cert: Annotated[str, Meta(description="PEM file of our own certificate")] = ""
    client_key: Annotated[str, Meta(description="PEM file of its key")] = ""
    timeout_s: Annotated[float, Meta(description="a request without an answer for so long is given up", gt=0, le=3600)] = 60.0
    compression_level: Annotated[int, Meta(description="gzip level of requests; -1 sends them plain", ge=-1, le=3)] = 1
    setup: Annotated[Literal["auto", "manual"], Meta(description="`auto`: a missing template is installed when a run begins")] = (
        "auto"
    )
    dashboards_url: Annotated[
        str, Meta(description="Kibana or OpenSearch Dashboards, for `vosship setup` to import dashboards (default: not done)")
    ] = ""
    shards: Annotated[int, Meta(description="primary shards of a day", ge=1, le=64)] = 1
    replicas: Annotated[int, Meta(description="copies of each shard (default: one where there is a second node)", ge=0)] | None = (
        None
    )
    codec: Annotated[Literal["default", "best_compression"], Meta(description="how stored fields are compressed")] = (
        "best_compression"
    )
    source: Annotated[
        Source,
        Meta(
            description="`packed`: a quarter less disk, slower to read; `derived`: the engine puts documents together instead of "
            "storing them, about half the disk, slower still"
        ),
    ] = "stored"
    refresh_interval_s: Annotated[float, Meta(description="how soon a stored call can be found", ge=1, le=3600)] = 10.0
    retention_days: (
        Annotated[int, Meta(description="delete a day after so long (default: nothing is ever deleted)", ge=1)] | None
    ) = None
    warm_after_days: (
        Annotated[int, Meta(description="merge a day into one segment after so long; it is read-only from then on", ge=1)] | None
    ) = None


def check(options: Options) -> None:
    """Raise ConfigError where options contradict each other. No message repeats a secret."""
    urls = [(f"hosts[{number}]", host) for number, host in enumerate(options.hosts)]
    if options.dashboards_url:
        urls.append(("dashboards_url", options.dashboards_url))
    for path, host in urls:
        try:
            parts = urlsplit(host)
            port_ok = parts.port is None or parts.port > 0
        except ValueError:
            port_ok = False
            parts = urlsplit("")
        if parts.username is not None or "@" in parts.netloc:
            raise ConfigError("a URL with credentials ends up in logs", path=path, hint="use `username` and `password`")
        if parts.scheme not in ("http", "https") or not parts.hostname or not port_ok or parts.query or parts.fragment:
            raise ConfigError("not the URL of a server", path=path, hint="for instance https://localhost:9200")
    if options.api_key and options.username:
        raise ConfigError("both an API key and a user are given", path="api_key", hint="leave one of them out")
    if options.password and options.password_file:
        raise ConfigError("the password is given twice", path="password_file", hint="leave `password` or `password_file` out")
    if (options.password or options.password_file) and not options.username:
        raise ConfigError("a password without a user", path="username", hint="set `username`")
    if options.client_key and not options.client_cert:
        raise ConfigError("a key without its certificate", path="client_cert", hint="set `client_cert`")
    if options.warm_after_days and options.retention_days and options.warm_after_days >= options.retention_days:
        raise ConfigError(
            "days would be deleted before they are merged", path="warm_after_days", hint="make it less than `retention_days`"
        )


class Access(msgspec.Struct, frozen=True):
    """What a client needs of the options: files resolved, the password read. Its repr shows no secret."""

    hosts: tuple[str, ...]
    username: str
    password: str
    api_key: str
    ca_certs: str | None
    verify_certs: bool
    client_cert: str | None
    client_key: str | None
    timeout_s: float

    def __repr__(self) -> str:
        return f"Access(hosts={self.hosts!r})"


class ClosedError(ConfigError):
    """A file that is perhaps all right, which this user may not read: whoever needs the server cannot go on."""


def access(options: Options, base_dir: Path) -> Access:
    """Resolve files against the configuration's folder and read the password. Raises ConfigError when a file is not there, and
    ClosedError when it may not be read."""

    def file(name: str, option: str) -> str | None:
        if not name:
            return None
        path = base_dir / name
        try:
            found = path.is_file()
        except OSError as error:
            raise ClosedError(f"cannot look for {path}: {error.strerror}", path=option, hint="run as the agent's user") from error
        if not found:
            raise ConfigError(f"no such file: {path}", path=option)
        return str(path)

    password = options.password
    if named := file(options.password_file, "password_file"):
        try:
            password = Path(named).read_text(encoding="utf-8").strip("\r\n")
        except OSError as error:
            sentence = f"cannot read the password: {error.strerror}"
            raise ClosedError(sentence, path="password_file", hint="run as the agent's user") from error
        except UnicodeDecodeError as error:
            raise ConfigError("cannot read the password: it is not UTF-8", path="password_file") from error
    return Access(
        hosts=tuple(host.rstrip("/") for host in options.hosts),
        username=options.username,
        password=password,
        api_key=options.api_key,
        ca_certs=file(options.ca_certs, "ca_certs"),
        verify_certs=options.verify_certs,
        client_cert=file(options.client_cert, "client_cert"),
        client_key=file(options.client_key, "client_key"),
        timeout_s=options.timeout_s,
    )
