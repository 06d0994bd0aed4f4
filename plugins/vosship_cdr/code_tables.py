"""The codes of a call as data: SIP responses, Q.850 causes, the vendor's own, and which ends count as network success.

It does not look anything up.
"""

from __future__ import annotations

import msgspec


class Code(msgspec.Struct, frozen=True):
    """One end reason: its words and its class."""

    text: str
    kind: str


CLASSES = ("success", "redirect", "client", "server", "global", "q850", "vendor")
"""Classes an operator may give a code; what is in no table is `unknown`."""

SIP: dict[int, str] = {
    180: "Ringing",
    181: "Call Is Being Forwarded",
    182: "Queued",
    183: "Session Progress",
    199: "Early Dialog Terminated",
    200: "OK",
    202: "Accepted",
    204: "No Notification",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    305: "Use Proxy",
    380: "Alternative Service",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    410: "Gone",
    412: "Conditional Request Failed",
    413: "Request Entity Too Large",
    414: "Request-URI Too Long",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    417: "Unknown Resource-Priority",
    420: "Bad Extension",
    421: "Extension Required",
    422: "Session Interval Too Small",
    423: "Interval Too Brief",
    424: "Bad Location Information",
    425: "Bad Alert Message",
    428: "Use Identity Header",
    429: "Provide Referrer Identity",
    430: "Flow Failed",
    433: "Anonymity Disallowed",
    436: "Bad Identity Info",
    437: "Unsupported Credential",
    438: "Invalid Identity Header",
    439: "First Hop Lacks Outbound Support",
    440: "Max-Breadth Exceeded",
    469: "Bad Info Package",
    470: "Consent Needed",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    484: "Address Incomplete",
    485: "Ambiguous",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    489: "Bad Event",
    491: "Request Pending",
    493: "Undecipherable",
    494: "Security Agreement Required",
    500: "Server Internal Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
    555: "Push Notification Service Not Supported",
    580: "Precondition Failure",
    600: "Busy Everywhere",
    603: "Decline",
    604: "Does Not Exist Anywhere",
    606: "Not Acceptable",
    607: "Unwanted",
    608: "Rejected",
}
"""IANA, Session Initiation Protocol (SIP) Parameters, Response Codes. 100 Trying is left out: a final 100 is Q.850."""

_SIP_CLASSES = {1: "unknown", 2: "success", 3: "redirect", 4: "client", 5: "server", 6: "global"}


def sip_class(code: int) -> str:
    """The class of a SIP response; a provisional one cannot end a call, so its class is `unknown`."""
    return _SIP_CLASSES[code // 100]


Q850_RANGE = range(1, 128)
"""ITU-T Q.850 section 2.2.5: the cause value has seven bits."""

Q850: dict[int, str] = {
    1: "Unallocated (unassigned) number",
    2: "No route to specified transit network",
    3: "No route to destination",
    4: "Send special information tone",
    5: "Misdialled trunk prefix",
    6: "Channel unacceptable",
    7: "Call awarded and being delivered in an established channel",
    8: "Preemption",
    9: "Preemption, circuit reserved for reuse",
    14: "QoR: ported number",
    16: "Normal call clearing",
    17: "User busy",
    18: "No user responding",
    19: "No answer from user (user alerted)",
    20: "Subscriber absent",
    21: "Call rejected",
    22: "Number changed",
    23: "Redirection to new destination",
    24: "Call rejected due to feature at the destination",
    25: "Exchange routing error",
    26: "Non-selected user clearing",
    27: "Destination out of order",
    28: "Invalid number format (address incomplete)",
    29: "Facility rejected",
    30: "Response to STATUS ENQUIRY",
    31: "Normal, unspecified",
    34: "No circuit/channel available",
    38: "Network out of order",
    39: "Permanent frame mode connection out of service",
    40: "Permanent frame mode connection operational",
    41: "Temporary failure",
    42: "Switching equipment congestion",
    43: "Access information discarded",
    44: "Requested circuit/channel not available",
    46: "Precedence call blocked",
    47: "Resource unavailable, unspecified",
    49: "Quality of service not available",
    50: "Requested facility not subscribed",
    53: "Outgoing calls barred within closed user group",
    55: "Incoming calls barred within closed user group",
    57: "Bearer capability not authorized",
    58: "Bearer capability not presently available",
    62: "Inconsistency in designated outgoing access information and subscriber class",
    63: "Service or option not available, unspecified",
    65: "Bearer capability not implemented",
    66: "Channel type not implemented",
    69: "Requested facility not implemented",
    70: "Only restricted digital information bearer capability is available",
    79: "Service or option not implemented, unspecified",
    81: "Invalid call reference value",
    82: "Identified channel does not exist",
    83: "A suspended call exists, but this call identity does not",
    84: "Call identity in use",
    85: "No call suspended",
    86: "Call having the requested call identity has been cleared",
    87: "User not member of closed user group",
    88: "Incompatible destination",
    90: "Non-existent closed user group",
    91: "Invalid transit network selection",
    95: "Invalid message, unspecified",
    96: "Mandatory information element is missing",
    97: "Message type non-existent or not implemented",
    98: "Message not compatible with call state or message type non-existent or not implemented",
    99: "Information element/parameter non-existent or not implemented",
    100: "Invalid information element contents",
    101: "Message not compatible with call state",
    102: "Recovery on timer expiry",
    103: "Parameter non-existent or not implemented, passed on",
    110: "Message with unrecognized parameter, discarded",
    111: "Protocol error, unspecified",
    127: "Interworking, unspecified",
}
"""ITU-T Q.850, table 1: cause values of the coding standard ITU-T."""

VENDOR: dict[int, str] = {
    -7: "Caller hung up",
    -8: "Callee hung up",
    -9: "Illegal call: number or address not authorised",
    -69: "Probably no route",
}
"""Seen on running switches; the vendor's list is not public. An operator adds to it with the option `codes`."""

ENDERS: dict[object, str] = {0: "caller", 1: "callee", 2: "server"}
"""endDirection, in words."""

ACCOUNT_TYPES: dict[object, str] = {-1: "none", 0: "phone", 1: "gateway", 2: "bound", 3: "card"}
"""billingMode, in words (2 as seen in the vendor's web API)."""

PARTIES: dict[object, str] = {0: "caller", 1: "callee", 2: "external"}
"""calleeBilling, in words (2 as seen in the vendor's web API)."""

NETWORK_SUCCESS: dict[int, str] = {
    486: "busy",
    600: "busy",
    17: "busy",
    480: "no answer",
    487: "no answer",
    18: "no answer",
    19: "no answer",
    -7: "no answer",
    603: "refusal",
    607: "refusal",
    21: "refusal",
    404: "number does not exist",
    410: "number does not exist",
    484: "number does not exist",
    1: "number does not exist",
    22: "number does not exist",
    28: "number does not exist",
}
"""Unanswered ends that ITU-T E.425 counts as the network's success, with why. 404, 410, 484, -7 and their Q.850 likenesses
by stated choice: the network did what the number dialled allowed. 408 counts as failure: ringing cannot be shown."""
