"""One request to a cluster through its official client, and one sentence for everything that can go wrong on the way.

It does not know what is asked: `wire`, `guard`, `installation` and searches do.

The clients' own transports are used without the layer of named methods above them: of Elasticsearch's that layer alone costs
7 MB and 130 ms (measured 2026-11), and it adds nothing to a request that is already rendered. Nothing is retried here, no
node is discovered, no redirect followed, no body encoded or decoded: delivery insists, and it must know of each attempt.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import re
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Protocol, TypeVar, cast
from urllib.parse import urlsplit

import msgspec

from vosship.errors import HaltedError, TooLargeError, UnavailableError
from vosship_bulk.options import Access

Engine = Literal["elasticsearch", "opensearch"]

T = TypeVar("T")

CONNECTIONS = 16
"""Connections kept to a node. Chosen: the most batches that may travel at once (`in_flight`)."""

SAID_CHARACTERS = 300
"""How much of a server's own words is repeated. Chosen: type and reason fit, a stack trace does not."""

_PRESSURE = re.compile(r"coordinating_operation_bytes=(\d+), max_coordinating\w*_bytes=(\d+)")
"""How both engines word the limit on indexing under way (`indexing_pressure.memory.limit`; seen on 3.8.0 and 8.17.4)."""

_JSON = {"content-type": "application/json", "accept": "application/json"}


class Answer(msgspec.Struct, frozen=True):
    """An HTTP answer as it came; `where` names the cluster for messages, without credentials."""

    status: int
    body: bytes
    where: str

    def json(self) -> dict[str, Any]:
        """The decoded body. Raises UnavailableError when it is no JSON object (a proxy's page, half an answer, another service)."""
        return self._decoded(dict[str, Any])

    def rows(self) -> list[dict[str, Any]]:
        """The decoded body of a request for a list of objects. Raises as `json` does."""
        return self._decoded(list[dict[str, Any]])

    def _decoded(self, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(self.body, type=kind)
        except msgspec.DecodeError as error:
            what = "a cluster's" if isinstance(error, msgspec.ValidationError) else "JSON"
            raise UnavailableError(
                f"{self.where}: the answer ({self.status}) is not {what}: {excerpt(self.body)}", hint="is there a proxy in between?"
            ) from error

    def strange(self) -> UnavailableError:
        """The error for an answer without what every cluster's answer to that request has."""
        return UnavailableError(
            f"{self.where}: the answer ({self.status}) is not a cluster's: {excerpt(self.body)}",
            hint="is `hosts` the cluster itself, with the right path?",
        )


DISGUISED = "7.10.2"
"""What an OpenSearch calls itself under `compatibility.override_main_response_version`, whatever it is."""


def identify(answer: Answer) -> tuple[str, str]:
    """Engine and version that a cluster's main page (`GET /`) tells. Raises UnavailableError when it is no cluster's."""
    version = answer.json().get("version")
    if not isinstance(version, dict) or "number" not in version:
        raise answer.strange()
    return str(version.get("distribution", "elasticsearch")), str(version["number"])


class Client(Protocol):
    """Speaks to one cluster. Safe to use from several threads."""

    def call(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = _JSON) -> Answer:
        """One attempt. Blocks up to the time-out. Raises UnavailableError when there was no answer; any status is an answer."""
        ...

    def close(self) -> None: ...


_LOADING = threading.Lock()
"""Held while a client is loaded: what `_absent` hides from one engine's the other's needs, and outputs connect on threads."""


def connect(engine: Engine, access: Access) -> Client:
    """A client for that engine. Opens no connection yet. Raises HaltedError when a certificate file cannot be used."""
    try:
        with _LOADING:
            return _Elasticsearch(access) if engine == "elasticsearch" else _OpenSearch(access)
    except OSError as error:  # ssl.SSLError is one
        raise HaltedError(
            f"a certificate file cannot be used: {error.strerror or error}", hint="see `ca_certs` and `client_cert`"
        ) from error


def excerpt(body: bytes) -> str:
    """The beginning of a server's words, on one line."""
    return " ".join(body[: 4 * SAID_CHARACTERS].decode("utf-8", "replace").split())[:SAID_CHARACTERS] or "nothing"


def said(answer: Answer) -> str:
    """A refusing server's own type and reason where the body has them, else its beginning."""
    try:
        error = msgspec.json.decode(answer.body).get("error")
        if isinstance(error, dict):
            return f"{error.get('type')}: {error.get('reason')}"[:SAID_CHARACTERS]
        return str(error)[:SAID_CHARACTERS] if error else excerpt(answer.body)
    except (msgspec.DecodeError, AttributeError):
        return excerpt(answer.body)


def refuse(answer: Answer, doing: str) -> UnavailableError:
    """The error for an answer that refuses a whole request, with what an operator can do about it."""
    status, words, where = answer.status, said(answer), f"{answer.where}, {doing}"
    if status == 413 or _never_fits(words):
        return TooLargeError(f"{where}: the request is too large for the server or a proxy ({status})", hint="lower `batch_bytes`")
    hints = {
        401: "see `username`, `password` or `api_key`",
        403: "the user needs `manage_index_templates`, and on vos3000-* `create_index`, `write`, `manage`",
        404: "is `hosts` the cluster itself, with the right path?",
        407: "a proxy asks for credentials",
        415: "a proxy may strip or refuse `Content-Encoding`: try `compression_level: -1`",
        429: "the cluster is busy",
    }
    if 300 <= status < 400:
        return UnavailableError(f"{where}: the server redirects ({status})", hint="put the address it redirects to into `hosts`")
    if "cluster_block_exception" in words:
        return UnavailableError(
            f"{where}: the cluster takes nothing ({status}): {words}", hint="see GET /_cluster/settings and its disks"
        )
    hint = hints.get(status, "see the cluster's own log" if status >= 500 else "is there a proxy in between?")
    return UnavailableError(f"{where}: refused with {status}: {words}", hint=hint)


def _never_fits(words: str) -> bool:
    """Whether a server calls itself busy (429) over a request that is larger than all it may ever have under way."""
    found = _PRESSURE.search(words)
    return found is not None and int(found[1]) > int(found[2])


def _unreachable(where: str, kind: str, error: BaseException) -> UnavailableError:
    innermost = error
    while innermost.__cause__ or innermost.__context__:  # each layer quotes the one below; the last has the plain words
        innermost = innermost.__cause__ or innermost.__context__ or innermost
    words = " ".join(str(innermost).split())[:SAID_CHARACTERS]
    hints = {
        "timeout": "is the cluster overloaded? `timeout_s` is how long it is waited for",
        "tls": "see `ca_certs` and `verify_certs`, and whether the server speaks TLS at all",
        "connection": "is the server running, and `hosts` right?",
    }
    texts = {"timeout": "no answer in time", "tls": "no TLS connection", "connection": "no connection, or it broke"}
    return UnavailableError(f"{where}: {texts[kind]}: {words}", hint=hints[kind])


def _authorization(access: Access) -> dict[str, str]:
    if access.api_key:
        return {"authorization": "ApiKey " + access.api_key}
    if access.username:
        pair = f"{access.username}:{access.password}".encode()
        return {"authorization": "Basic " + base64.b64encode(pair).decode()}
    return {}


def _quiet(*names: str) -> None:
    # The clients log every failed request with a traceback, and bodies at DEBUG: the pipeline says it once, in our words.
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL)


class _Verbatim:
    """A serializer for both clients: bytes go out and come in as they are."""

    mimetype = "application/x-ndjson"

    def dumps(self, data: Any, *_: Any, **__: Any) -> Any:
        return data

    def loads(self, data: Any, *_: Any, **__: Any) -> Any:
        return data


@contextlib.contextmanager
def _absent(*modules: str) -> Iterator[None]:
    """Let imports inside find these modules missing. The transport takes each of them for an optional way to do HTTP, and of
    those that happen to be installed it imports all: 11 MB and 60 ms for what is never used (measured 2026-11)."""
    hidden = [name for name in modules if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # None is how the import system marks a module as not there
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


class _Elasticsearch:
    def __init__(self, access: Access) -> None:
        with _absent("aiohttp", "httpx", "requests"):
            import elastic_transport

        _quiet("elastic_transport.node", "elastic_transport.transport", "elastic_transport.node_pool", "urllib3.connectionpool")
        self._errors = elastic_transport
        self._where = ", ".join(access.hosts)
        self._always = _authorization(access)
        self._transport: Any = elastic_transport.Transport(
            [self._node(host, access) for host in access.hosts], max_retries=0, retry_on_status=(), retry_on_timeout=False
        )
        cast("Any", self._transport).serializers = _Verbatim()

    def _node(self, host: str, access: Access) -> Any:
        parts = urlsplit(host)
        secure: dict[str, Any] = {}
        if parts.scheme == "https":
            secure = {
                "verify_certs": access.verify_certs, "ssl_show_warn": False, "ca_certs": access.ca_certs,
                "client_cert": access.client_cert, "client_key": access.client_key,
            }  # fmt: skip
        return self._errors.NodeConfig(
            scheme=parts.scheme, host=parts.hostname or "", port=parts.port or (443 if parts.scheme == "https" else 80),
            path_prefix=parts.path, request_timeout=access.timeout_s, http_compress=False, connections_per_node=CONNECTIONS,
            **secure,
        )  # fmt: skip

    def call(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = _JSON) -> Answer:
        try:
            meta, content = self._transport.perform_request(method, path, body=body, headers={**headers, **self._always})
        except self._errors.ConnectionTimeout as error:
            raise _unreachable(self._where, "timeout", error) from error
        except self._errors.TlsError as error:
            raise _unreachable(self._where, "tls", error) from error
        except self._errors.TransportError as error:
            raise _unreachable(self._where, "connection", error) from error
        if meta.status < 300 and meta.headers.get("x-elastic-product") != "Elasticsearch":
            raise UnavailableError(
                f"{self._where}: what answers is no Elasticsearch 8 or 9 (no product header): {excerpt(content or b'')}",
                hint="for OpenSearch use `type: opensearch`; else a proxy answers, or strips X-Elastic-Product",
            )
        return Answer(meta.status, content or b"", self._where)

    def close(self) -> None:
        self._transport.close()


class _OpenSearch:
    def __init__(self, access: Access) -> None:
        import opensearchpy

        _quiet("opensearch", "urllib3.connectionpool")
        self._errors = opensearchpy
        self._where = ", ".join(access.hosts)
        self._always = _authorization(access)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an unverified certificate is the operator's decision, said by `check`
            self._transport: Any = opensearchpy.Transport(
                [self._host(host) for host in access.hosts], max_retries=0, retry_on_status=(), retry_on_timeout=False,
                pool_maxsize=CONNECTIONS, timeout=access.timeout_s, http_compress=False, verify_certs=access.verify_certs,
                ssl_show_warn=False, ca_certs=access.ca_certs, client_cert=access.client_cert, client_key=access.client_key,
            )  # fmt: skip
        transport = cast("Any", self._transport)
        transport.serializer = transport.deserializer = _Verbatim()

    @staticmethod
    def _host(host: str) -> dict[str, Any]:
        parts = urlsplit(host)
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        return {"host": parts.hostname, "port": port, "use_ssl": secure, "url_prefix": parts.path}

    def call(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = _JSON) -> Answer:
        try:
            content = self._transport.perform_request(method, path, body=body, headers={**headers, **self._always})
        except self._errors.ConnectionTimeout as error:
            raise _unreachable(self._where, "timeout", error) from error
        except self._errors.SSLError as error:
            raise _unreachable(self._where, "tls", error) from error
        except self._errors.ConnectionError as error:
            raise _unreachable(self._where, "connection", error) from error
        except self._errors.TransportError as error:
            info = error.info if isinstance(error.info, dict) else {"error": str(error.error)}
            return Answer(int(error.status_code), msgspec.json.encode(info), self._where)
        return Answer(200, (content or "").encode("utf-8", "surrogatepass"), self._where)

    def close(self) -> None:
        self._transport.close()
