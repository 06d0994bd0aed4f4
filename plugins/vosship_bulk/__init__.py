"""Outputs `elasticsearch` and `opensearch`: day indices on a search cluster, over one shared wire.

The official clients carry the requests; only the one that is used is loaded, when the first request is made.
"""

from vosship_bulk.output import Elasticsearch, OpenSearch

__all__ = ["Elasticsearch", "OpenSearch"]
