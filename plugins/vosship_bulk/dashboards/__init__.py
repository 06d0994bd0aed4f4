"""Dashboards for Kibana 8 and 9 and for OpenSearch Dashboards 2 and 3: one set of classic saved objects that both import.

Newer kinds (Lens, ES|QL) belong to one of the two only. What is shown is the core's table of panels (`vosship.panels`).
"""

from vosship_bulk.dashboards.objects import ndjson, objects
from vosship_bulk.dashboards.validate import problems

__all__ = ["ndjson", "objects", "problems"]
