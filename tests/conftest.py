"""Fixtures that several test modules share; real servers are started once a session and only when asked for."""

from __future__ import annotations

import logging
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from directory_model import DirectoryModel
from files_reader import Clock

from tests import nodes


def pytest_configure() -> None:
    """Whoever started the tests in the background ignores Ctrl-C, and so would every process they start: here it is tested."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """A command run in this process takes the log for itself: level, handler and all; the next test finds it as it was."""
    logger = logging.getLogger("vosship")
    was = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.propagate = was[0], was[2]
    logger.setLevel(was[1])


@pytest.fixture(scope="session")
def _opensearch() -> Iterator[nodes.Node]:
    with nodes.opensearch() as node:
        yield node


@pytest.fixture(scope="session")
def _elasticsearch() -> Iterator[nodes.Node]:
    with nodes.elasticsearch() as node:
        yield node


@pytest.fixture(scope="session")
def secured_elasticsearch() -> Iterator[nodes.Node]:
    """A real Elasticsearch with TLS and users; the session's own, so leave it as you found it."""
    with nodes.elasticsearch(secured=True) as node:
        yield node


@pytest.fixture
def opensearch_node(_opensearch: nodes.Node) -> nodes.Node:
    """A real OpenSearch, emptied of everything of ours before each test."""
    _opensearch.clear()
    return _opensearch


@pytest.fixture
def elasticsearch_node(_elasticsearch: nodes.Node) -> nodes.Node:
    """A real Elasticsearch, emptied of everything of ours before each test."""
    _elasticsearch.clear()
    return _elasticsearch


@pytest.fixture(params=["opensearch", "elasticsearch"])
def search_node(request: pytest.FixtureRequest) -> nodes.Node:
    """Each of the two real servers in turn, emptied before each test."""
    node: nodes.Node = request.getfixturevalue(f"{request.param}_node")
    return node


@pytest.fixture
def model(tmp_path: Path) -> DirectoryModel:
    """An empty CDR directory."""
    return DirectoryModel(tmp_path / "cdr")


@pytest.fixture
def clock() -> Clock:
    """A clock that stands."""
    return Clock()


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """A directory that everybody may pass through."""
    folder = Path(tempfile.mkdtemp(prefix="vosship-access-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
