"""Imports the saved objects into Kibana or OpenSearch Dashboards over its HTTP interface.

It makes none of them and never deletes: objects of the same id are replaced, all others are left as they are.
"""

from __future__ import annotations

import base64
import http.client
import ssl
import urllib.error
import urllib.request
from typing import Any

import msgspec

from vosship.errors import HaltedError, UnavailableError
from vosship_bulk.client import Engine, excerpt
from vosship_bulk.options import Access

PATH = "/api/saved_objects/_import?overwrite=true"
_HEADER = {"elasticsearch": "kbn-xsrf", "opensearch": "osd-xsrf"}
"""Without it either product refuses a POST (400)."""

_BOUNDARY = "vosship-saved-objects"

_HINTS = {
    401: "the dashboards take the output's own `username` and `password` or `api_key`",
    403: "the user may not write saved objects there",
    404: "is `dashboards_url` the address of Kibana or OpenSearch Dashboards, with its base path?",
    415: "is something else than Kibana or OpenSearch Dashboards listening there?",
}

_MOVED = "put the address it redirects to into `dashboards_url`, with base path and space"


def import_objects(engine: Engine, url: str, access: Access, ndjson: bytes) -> str:
    """Import, replacing what bears the same ids; says what was done. Blocks up to the time-out.

    Raises UnavailableError when nobody answers, HaltedError when the import is refused or only part of it was taken.
    """
    product = "Kibana" if engine == "elasticsearch" else "OpenSearch Dashboards"
    status, body = _post(engine, url, access, ndjson, product)
    if status != 200:
        raise HaltedError(
            f"{product} at {url} refuses the dashboards ({status}): {excerpt(body)}",
            hint=_MOVED if 300 <= status < 400 else _HINTS.get(status, f"is {url} really {product}?"),
        )
    try:
        answer: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise HaltedError(f"what answers at {url} is not {product}: {excerpt(body)}", hint="see `dashboards_url`") from error
    if "success" not in answer:
        raise HaltedError(f"what answers at {url} is not {product}: {excerpt(body)}", hint="see `dashboards_url`")
    if not answer["success"]:
        errors = answer.get("errors") or [{}]
        first = f"{errors[0].get('type')} {errors[0].get('id')}: {msgspec.json.encode(errors[0].get('error')).decode()}"
        raise HaltedError(f"{product} at {url} did not take {len(errors)} of the saved objects, the first {first}")
    return f"dashboards: {answer.get('successCount', 0)} saved objects in place at {url}"


def _post(engine: Engine, url: str, access: Access, ndjson: bytes, product: str) -> tuple[int, bytes]:
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="dashboards.ndjson"\r\n'
    head += "Content-Type: application/ndjson\r\n\r\n"
    request = urllib.request.Request(  # noqa: S310  the options admit http and https only
        url.rstrip("/") + PATH,
        data=head.encode() + ndjson + f"\r\n--{_BOUNDARY}--\r\n".encode(),
        headers={
            "Content-Type": f"multipart/form-data; boundary={_BOUNDARY}",
            _HEADER[engine]: "true",
            **_authorization(access),
        },
    )
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=_tls(url, access)), _Stay())
    try:
        with opener.open(request, timeout=access.timeout_s) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise UnavailableError(f"{product} at {url} cannot be reached: {reason}", hint="see `dashboards_url`") from error


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the credentials are for this address, and what is found elsewhere would be a page to log in."""

    def redirect_request(self, *_: object) -> None:
        """Nothing: the redirect itself is the answer."""


def _authorization(access: Access) -> dict[str, str]:
    if access.api_key:
        return {"Authorization": f"ApiKey {access.api_key}"}
    if access.username:
        return {"Authorization": "Basic " + base64.b64encode(f"{access.username}:{access.password}".encode()).decode()}
    return {}


def _tls(url: str, access: Access) -> ssl.SSLContext | None:
    if not url.startswith("https:"):
        return None
    try:
        context = ssl.create_default_context(cafile=access.ca_certs)
        if access.client_cert:
            context.load_cert_chain(access.client_cert, access.client_key)
    except OSError as error:
        raise HaltedError(f"a certificate file cannot be used: {error.strerror or error}", hint="see `ca_certs`") from error
    if not access.verify_certs:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
