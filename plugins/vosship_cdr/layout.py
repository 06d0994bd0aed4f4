"""The one table of columns: every layout a VOS3000 writes, and what each column is called, typed and measured in here.

It does not split or convert anything: `splitting`, `values` and `cdr` do, from this table; so do the templates.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from vosship.events import Field

LayoutName = Literal["pipe", "csv-52", "datagram-46", "table-current"]
ColumnType = Literal["keyword", "ip", "date", "long", "double"]
HoldUnit = Literal["ms", "s"]


class Column(msgspec.Struct, frozen=True):
    """One column: the field's name (the vendor's pipe spelling, else camelCase), its type, unit and meaning."""

    name: str
    type: ColumnType
    description: str
    unit: str = ""


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """One column order. `columns` are in the order of the line; `least` is how many a line must have.

    `hold_unit` is the unit the layout writes holdTime in (documents always hold milliseconds).
    """

    name: LayoutName
    delimiter: str
    hold_unit: HoldUnit
    least: int
    columns: tuple[Column, ...]

    def index(self, name: str) -> int:
        """The position, from 0, of the column whose field is `name`. Raises KeyError when the layout has none."""
        return _POSITIONS[self.name][name]

    def has(self, name: str) -> bool:
        """Whether the layout carries that field."""
        return name in _POSITIONS[self.name]


COLUMNS: dict[str, Column] = {
    column.name: column
    for column in (
        Column("callerE164", "keyword", "Caller after the switch's own prefix rules: the number as billed."),
        Column("calleeE164", "keyword", "Destination after prefix rules; the rate table is matched on this one."),
        Column("startTime", "date", "Call received, or connected: the processor's option `start_time` says which."),
        Column("stopTime", "date", "Call ended; decides which file the line lands in."),
        Column("holdTime", "long", "Conversation time; 0 = never answered.", "ms"),
        Column("endReason", "keyword", "Why it ended, as written: SIP status, Q.850 cause or the vendor's own number."),
        Column("endDirection", "long", "Who hung up: 0 caller, 1 callee, 2 the server."),
        Column("callerGatewayId", "keyword", "Mapping (incoming) gateway, id or name as the operator chose it."),
        Column("calleeGatewayId", "keyword", "Routing (outgoing) gateway; absent when no route was chosen."),
        Column("callerIp", "ip", "Address the call came from."),
        Column("calleeIp", "ip", "Address the call was sent to."),
        Column("callerAccessE164", "keyword", "Caller as received, before any rewriting."),
        Column("calleeAccessE164", "keyword", "Destination as received, before any rewriting."),
        Column("callerToGatewayE164", "keyword", "Caller as sent to the routing gateway."),
        Column("calleeToGatewayE164", "keyword", "Destination as sent to the routing gateway."),
        Column("calleeBilling", "long", "Who pays: 0 caller, 1 callee, 2 external."),
        Column("billingMode", "long", "Account charged: -1 none, 0 phone number, 1 gateway, 2 bound number, 3 phone card."),
        Column("callerPdd", "long", "Post-dial delay, call received to connected: it holds the ringing.", "ms"),
        Column("calleePdd", "long", "Post-dial delay, sent to the routing gateway to its response.", "ms"),
        Column("callerRtpIp", "ip", "Media address of the caller's side."),
        Column("calleeRtpIp", "ip", "Media address of the callee's side."),
        Column("callerCodec", "keyword", "Codec of the caller's side."),
        Column("calleeCodec", "keyword", "Codec of the callee's side."),
        Column("callerProductId", "keyword", "Device the caller's side announced."),
        Column("calleeProductId", "keyword", "Device the callee's side announced."),
        Column("callerType", "keyword", "Kind of the caller's end point, the switch's own code."),
        Column("calleeType", "keyword", "Kind of the callee's end point, the switch's own code."),
        Column("callLevel", "keyword", "Call level, the switch's own code."),
        Column("agentFeeTime", "long", "Duration billed to the agent.", "s"),
        Column("callerAreaCode", "keyword", "Area code the caller was matched to."),
        Column("calleeAreaCode", "keyword", "Area code the destination was matched to."),
        Column("feeTime", "long", "Duration billed by the switch.", "s"),
        Column("fee", "double", "Charge, in the switch's currency."),
        Column("tax", "double", "Tax on the charge, in the switch's currency."),
        Column("suiteFee", "double", "Charge met by a package, in the switch's currency."),
        Column("suiteFeeTime", "long", "Duration met by a package.", "s"),
        Column("incomeFee", "double", "Income from the call, in the switch's currency."),
        Column("incomeTax", "double", "Tax on the income, in the switch's currency."),
        Column("customerAccount", "keyword", "Account charged."),
        Column("customerName", "keyword", "Name of the account charged."),
        Column("agentFee", "double", "The agent's charge, in the switch's currency."),
        Column("agentTax", "double", "Tax on the agent's charge, in the switch's currency."),
        Column("agentSuiteFee", "double", "The agent's charge met by a package, in the switch's currency."),
        Column("agentSuiteFeeTime", "long", "The agent's duration met by a package.", "s"),
        Column("agentAccount", "keyword", "The agent's account."),
        Column("agentName", "keyword", "The agent's name."),
        Column("flowNo", "keyword", "The record's own number, unique on the switch."),
        Column("flowNoFirst", "keyword", "Number of the first record of the same call."),
        Column("softswitchName", "keyword", "Softswitch that handled the call."),
        Column("softswitchCallId", "keyword", "The softswitch's own call id."),
        Column("callerCallId", "keyword", "Call id of the caller's leg."),
        Column("calleeCallId", "keyword", "Call id of the callee's leg."),
        Column("callerOriginalCallId", "keyword", "Call id of the caller's leg before any rewriting."),
        Column("callerOriginalInfo", "keyword", "What the caller's side announced of itself."),
        Column("rtpForward", "keyword", "Whether the switch forwarded the media, its own code."),
        Column("billingType", "keyword", "Kind of billing, the switch's own code."),
        Column("cdrLevel", "keyword", "Level of the record, the switch's own code."),
        Column("agentCdrId", "keyword", "Number of the agent's record."),
        Column("sipReasonHeader", "keyword", "Reason header of the final SIP message."),
        Column("recordStartTime", "date", "When the recording began."),
        Column("transactionId", "keyword", "Transaction the record belongs to."),
        Column("additional", "keyword", "Additional values, as written."),
        Column("dynamicValue", "keyword", "Dynamic values, as written."),
    )
}
"""Every column of every layout, by field name. Meanings of columns that only the CSV and table layouts have are read
from their names and running readers: the vendor documents none of them."""


def _columns(names: str) -> tuple[Column, ...]:
    return tuple(COLUMNS[name] for name in names.split())


PIPE = Layout(
    name="pipe",
    delimiter="|",
    hold_unit="ms",
    least=17,  # callerPdd and calleePdd are absent on older versions
    columns=_columns(
        "callerE164 calleeE164 startTime stopTime holdTime endReason endDirection callerGatewayId calleeGatewayId"
        " callerIp calleeIp callerAccessE164 calleeAccessE164 callerToGatewayE164 calleeToGatewayE164 calleeBilling"
        " billingMode callerPdd calleePdd"
    ),
)

CSV_52 = Layout(
    name="csv-52",
    delimiter=",",
    hold_unit="s",
    least=52,
    columns=_columns(
        "callerE164 callerAccessE164 calleeE164 calleeAccessE164 callerIp callerCodec callerGatewayId callerProductId"
        " callerToGatewayE164 callerType calleeIp calleeCodec calleeGatewayId calleeProductId calleeToGatewayE164"
        " calleeType billingMode callLevel agentFeeTime startTime stopTime callerPdd calleePdd holdTime callerAreaCode"
        " feeTime fee tax suiteFee suiteFeeTime incomeFee incomeTax customerAccount customerName calleeAreaCode agentFee"
        " agentTax agentSuiteFee agentSuiteFeeTime agentAccount agentName flowNo softswitchName softswitchCallId"
        " callerCallId calleeCallId rtpForward endDirection endReason billingType cdrLevel agentCdrId"
    ),
)

DATAGRAM_46 = Layout(
    name="datagram-46",
    delimiter=",",
    hold_unit="s",
    least=46,
    columns=_columns(
        "callerE164 callerAccessE164 calleeE164 calleeAccessE164 callerIp callerGatewayId callerProductId"
        " callerToGatewayE164 callerType calleeIp calleeGatewayId calleeProductId calleeToGatewayE164 calleeType"
        " billingMode callLevel agentFeeTime startTime stopTime callerPdd calleePdd holdTime callerAreaCode feeTime fee"
        " suiteFee suiteFeeTime incomeFee customerAccount customerName calleeAreaCode agentFee agentSuiteFee"
        " agentSuiteFeeTime agentAccount agentName flowNo softswitchName softswitchCallId callerCallId calleeCallId"
        " endDirection endReason calleeBilling cdrLevel agentCdrId"
    ),
)

TABLE_CURRENT = Layout(
    name="table-current",
    delimiter=",",
    hold_unit="s",
    least=62,
    columns=_columns(
        "callerE164 callerAccessE164 calleeE164 calleeAccessE164 callerIp callerRtpIp callerCodec callerGatewayId"
        " callerProductId callerToGatewayE164 callerType calleeIp calleeRtpIp calleeCodec calleeGatewayId calleeProductId"
        " calleeToGatewayE164 calleeType billingMode callLevel agentFeeTime startTime stopTime callerPdd calleePdd holdTime"
        " callerAreaCode feeTime fee tax suiteFee suiteFeeTime incomeFee incomeTax customerAccount customerName"
        " calleeAreaCode agentFee agentTax agentSuiteFee agentSuiteFeeTime agentAccount agentName flowNo softswitchName"
        " softswitchCallId callerCallId callerOriginalCallId calleeCallId callerOriginalInfo rtpForward endDirection"
        " endReason billingType cdrLevel agentCdrId sipReasonHeader recordStartTime transactionId flowNoFirst additional"
        " dynamicValue"
    ),
)

LAYOUTS: dict[LayoutName, Layout] = {layout.name: layout for layout in (PIPE, CSV_52, DATAGRAM_46, TABLE_CURRENT)}

_POSITIONS: dict[LayoutName, dict[str, int]] = {
    layout.name: {column.name: position for position, column in enumerate(layout.columns)} for layout in LAYOUTS.values()
}

_RESOLUTION = {"date": "ms"}
"""By type, where it is not the unit itself; text times have whole seconds, epoch times milliseconds."""

DERIVED: tuple[Field, ...] = (
    Field(name="layout", type="keyword", description="The column order the line was read in."),
    Field(name="call.answered", type="boolean", description="Whether holdTime is above 0."),
    Field(name="call.answered_at", type="date", resolution="ms", description="stopTime less holdTime, answered calls only."),
    Field(
        name="call.setup_ms",
        type="long",
        unit="ms",
        resolution="ms",
        description="call.answered_at less startTime where startTime is `received`; answered calls only.",
    ),
    Field(
        name="call.billed_s",
        type="long",
        unit="s",
        description="Billed seconds: the layout's own feetime, else the configured rounding rule.",
    ),
    Field(
        name="extra",
        type="keyword",
        array=True,
        description="Columns beyond the known layout; and, as `name=text`, values that do not fit their column's type.",
    ),
    Field(name="labels", type="object", description="Further columns and tables that the operator named."),
    Field(name="source.ip", type="alias", path="callerIp", description="ECS spelling of callerIp."),
    Field(name="destination.ip", type="alias", path="calleeIp", description="ECS spelling of calleeIp."),
    Field(name="event.start", type="alias", path="startTime", description="ECS spelling of startTime."),
    Field(name="event.end", type="alias", path="stopTime", description="ECS spelling of stopTime."),
    Field(name="event.code", type="alias", path="endReason", description="ECS spelling of endReason."),
)


def fields() -> tuple[Field, ...]:
    """Every field a line of any layout can give: the mapping does not depend on which layout a switch writes."""
    own = [
        Field(
            name=column.name,
            type=column.type,
            unit=column.unit,
            resolution=_RESOLUTION.get(column.type, column.unit),
            description=column.description,
        )
        for column in COLUMNS.values()
    ]
    return (*own, *DERIVED)
