"""The eight fake APIs, each declared as a source; what each declaration has to name stands at the end of the server's module."""

from dataclasses import dataclass
from datetime import timedelta

import abb_like
import cognite_like
import github_like
import insights_like
import openaq_like
import pi_like
import stripe_like
import thingsboard_like
from server import FakeApi

from smartsensor.source.filters import CountField, TimeFilter
from smartsensor.source.http import Probes
from smartsensor.source.paging import (
    KeysetPaging,
    LinkPaging,
    NextUrlPaging,
    OffsetPaging,
    PageNumberPaging,
    Paging,
    SplitPaging,
)
from smartsensor.source.resources import FLAG, INSTANT, REAL, TEXT, WHOLE, Parents, Resource, columns
from smartsensor.source.shapes import Each, Members, Sent, Unpivot
from smartsensor.source.sign_in import ApiKey, BasicAuth, BearerToken, KeyExchange, OAuthClientCredentials
from smartsensor.source.sources import Source

NO_PROBES = Probes(None, None)
MS, SECOND = timedelta(milliseconds=1), timedelta(seconds=1)
LATE = timedelta(hours=6)

# --- GitHub: Link header, only a lower bound ---------------------------------------------------------------------------
ISSUES = Resource(
    "issues", github_like.PATH, ("issue_id",),
    columns(
        issue_id=WHOLE, number=WHOLE, title=TEXT, state=TEXT, comments=WHOLE, user_login=TEXT, created_at=INSTANT,
        updated_at=INSTANT, closed_at=(INSTANT,),
    ),
    "incremental", incremental_field="updated_at", step=timedelta(days=30),
    filter=TimeFilter("since", None), params=(("state", "all"), ("sort", "updated"), ("direction", "asc")),
    paging=LinkPaging("per_page"), limit=50, rows="", optional=("closed_at",),
    sent={"issue_id": Sent("id"), "user_login": Sent("user.login")}, drop=("user", "labels"),
)  # fmt: skip
GITHUB = Source("github", (ISSUES,), sign_in=BearerToken(), probes=NO_PROBES)

# --- Stripe: the last row's id as the place, changes that leave no trace in time -----------------------------------------
CHARGES = Resource(
    "charges", stripe_like.PATH, ("charge_id",),
    columns(
        charge_id=TEXT, amount=WHOLE, currency=TEXT, status=TEXT, refunded=FLAG, sensor_id=TEXT, created_at=INSTANT,
    ),
    "incremental", incremental_field="created_at", event_field="created_at", version=(), lookback=LATE,
    filter=TimeFilter("created[gte]", "created[lt]", "s"),
    paging=KeysetPaging("starting_after", "charge_id", has_more="has_more"), limit=100, drop=("object", "metadata"),
    sent={"charge_id": Sent("id"), "created_at": Sent("created", unit="s"), "sensor_id": Sent("metadata.sensor")},
)  # fmt: skip
STRIPE = Source("stripe", (CHARGES,), sign_in=BasicAuth("{secret}", ""), probes=NO_PROBES)

# --- OpenAQ: page numbers, a listing for each sensor, nested rows --------------------------------------------------------
SENSORS = Resource(
    "sensors", f"/v3/locations/{openaq_like.LOCATION}/sensors", ("sensor_id",), columns(sensor_id=WHOLE), "snapshot", version=(),
    rows="results", sent={"sensor_id": Sent("id")}, drop=("name", "parameter", "datetimeFirst"),
    paging=PageNumberPaging(short_page_ends=True), limit=1000,
)  # fmt: skip
AIR = Resource(
    "air", "/v3/sensors/{sensor_id}/measurements", ("sensor_id", "measured_at"),
    columns(
        sensor_id=WHOLE, parameter_id=WHOLE, parameter=TEXT, units=TEXT, measured_at=INSTANT, ended_at=INSTANT, value=REAL,
    ),
    "incremental", incremental_field="ended_at", event_field="measured_at", version=(), lookback=LATE,
    filter=TimeFilter("datetime_from", "datetime_to", since_excluded=True, before_included=True, resolution=SECOND),
    parents=Parents(SENSORS, "sensor_id"), rows="results", paging=PageNumberPaging(short_page_ends=True), limit=10,
    sent={
        "parameter_id": Sent("parameter.id"), "parameter": Sent("parameter.name"), "units": Sent("parameter.units"),
        "measured_at": Sent("period.datetimeFrom.utc"), "ended_at": Sent("period.datetimeTo.utc"),
    },
    drop=("flagInfo", "period"),
)  # fmt: skip
OPENAQ = Source("openaq", (AIR,), sign_in=ApiKey("X-API-Key"), probes=NO_PROBES)

# --- PI Web API: lists within lists, a next URL in the body --------------------------------------------------------------
RECORDED = Resource(
    "recorded", pi_like.PATH, ("web_id", "measured_at"),
    columns(web_id=TEXT, name=TEXT, path=TEXT, measured_at=INSTANT, value=(REAL,), units=TEXT, good=FLAG),
    "incremental", incremental_field="measured_at", event_field="measured_at", version=(), lookback=LATE,
    filter=TimeFilter("startTime", "endTime", before_included=True),
    paging=NextUrlPaging("Links.Next", "maxCount", ends_on=("absent",)), limit=100, rows=(Each("Items"), Each("Items")),
    sent={
        "web_id": Sent("_parent.WebId"), "name": Sent("_parent.Name"), "path": Sent("_parent.Path"), "good": Sent("Good"),
        "measured_at": Sent("Timestamp"), "value": Sent("Value"), "units": Sent("UnitsAbbreviation"),
    },
    drop=("Questionable", "Substituted", "Annotated"),
)  # fmt: skip
PI = Source("pi", (RECORDED,), sign_in=BasicAuth(), probes=NO_PROBES)

# --- Insights Hub: wide rows, a next link from the last timestamp --------------------------------------------------------
SERIES = Resource(
    "series", insights_like.PATH, ("measured_at", "variable"),
    columns(measured_at=INSTANT, variable=TEXT, value=REAL, quality=WHOLE),
    "incremental", incremental_field="measured_at", event_field="measured_at", version=(), lookback=LATE,
    filter=TimeFilter("from", "to", since_excluded=True, before_included=True, resolution=MS),
    paging=LinkPaging("limit"), limit=100, rows=(Each(), Unpivot(("_time",), (("_qc", "quality"),))),
    sent={"measured_at": Sent("_time"), "variable": Sent("name")},
)  # fmt: skip
INSIGHTS = Source("insights", (SERIES,), sign_in=OAuthClientCredentials("/oauth/token"), probes=NO_PROBES)

# --- ThingsBoard: a listing for each device, cut at the limit in silence -------------------------------------------------
DEVICES = Resource(
    "devices", thingsboard_like.DEVICES, ("device_id",), columns(device_id=TEXT), "snapshot", version=(),
    paging=PageNumberPaging("page", "pageSize", has_more="hasNext", first=0), limit=2,
    sent={"device_id": Sent("id.id")}, drop=("id", "createdTime", "name", "type"),
)  # fmt: skip
TELEMETRY = Resource(
    "telemetry", "/api/plugins/telemetry/DEVICE/{device_id}/values/timeseries", ("device_id", "key", "measured_at"),
    columns(device_id=TEXT, key=TEXT, measured_at=INSTANT, value=REAL),
    "incremental", incremental_field="measured_at", event_field="measured_at", version=(), lookback=LATE,
    filter=TimeFilter("startTs", "endTs", "ms"), params=(("keys", "temperature,humidity,vibration"), ("orderBy", "ASC")),
    parents=Parents(DEVICES, "device_id"), paging=SplitPaging(full=100), rows=(Members(), Each("value")),
    sent={"key": Sent("_parent.key"), "measured_at": Sent("ts", unit="ms"), "value": Sent(text=True)},
)  # fmt: skip
THINGSBOARD = Source(
    "thingsboard", (TELEMETRY,), probes=NO_PROBES,
    sign_in=KeyExchange(thingsboard_like.LOGIN, {"username": "{id}", "password": "{secret}"}, "token", header="X-Authorization"),
)  # fmt: skip

# --- ABB Smart Sensor: a key exchange, a listing for each asset, no paging -----------------------------------------------
ASSETS = Resource(
    "assets", "/Asset/List", ("asset_id",), columns(asset_id=WHOLE), "snapshot", version=(), paging=Paging(), rows="",
    params=(("organizationID", str(abb_like.ORGANIZATION)),), sent={"asset_id": Sent("assetID")}, drop=("assetName", "assetGroupID"),
)  # fmt: skip
VALUES = Resource(
    "values", "/Measurement/Value", ("asset_id", "measurement_type_id", "measured_at"),
    columns(
        asset_id=WHOLE, measurement_type_id=WHOLE, measurement_type=TEXT, unit=TEXT, measured_at=INSTANT, value=REAL,
    ),
    "incremental", incremental_field="measured_at", event_field="measured_at", version=(), lookback=LATE,
    filter=TimeFilter("from", "to", before_included=True), parents=Parents(ASSETS, "asset_id"),
    params=(("assetID", "{asset_id}"), ("measurementTypes", "1,2,3")), paging=Paging(), rows=(Each(), Each("measurements")),
    sent={
        "measurement_type_id": Sent("_parent.measurementTypeID"), "measurement_type": Sent("_parent.measurementTypeName"),
        "unit": Sent("_parent.measurementTypeUnit"), "value": Sent("measurementValue"),
        "measured_at": Sent("measurementCreated", zone="UTC"),
    },
)  # fmt: skip
ABB = Source(
    "abb", (VALUES,), probes=NO_PROBES,
    sign_in=KeyExchange(abb_like.AUTH, {"apiKey": "{secret}", "deviceUID": "smartsensor"}, "authToken"),
)  # fmt: skip

# --- Cognite: offset and total, epoch milliseconds -----------------------------------------------------------------------
EVENTS = Resource(
    "events", cognite_like.PATH, ("event_id",),
    columns(
        event_id=WHOLE, external_id=TEXT, type=TEXT, severity=WHOLE, started_at=INSTANT, ended_at=(INSTANT,),
        created_at=INSTANT, updated_at=INSTANT,
    ),
    "incremental", incremental_field="started_at", event_field="started_at", lookback=LATE, optional=("ended_at",),
    filter=TimeFilter("minStartTime", "maxStartTime", "ms", before_included=True, resolution=MS),
    paging=OffsetPaging(total="total"), limit=100, count=CountField("total"), rows="items",
    sent={
        "event_id": Sent("id"), "external_id": Sent("externalId"), "severity": Sent("metadata.severity", text=True),
        "started_at": Sent("startTime", unit="ms"), "ended_at": Sent("endTime", unit="ms"),
        "created_at": Sent("createdTime", unit="ms"), "updated_at": Sent("lastUpdatedTime", unit="ms"),
    },
)  # fmt: skip
COGNITE = Source("cognite", (EVENTS,), sign_in=ApiKey("api-key"), probes=NO_PROBES)


@dataclass(frozen=True)
class Case:
    """A fake API, the source that declares it, and who signs in."""

    kind: type[FakeApi]
    source: Source
    client_id: str
    secret: str


CASES = {
    "github": Case(github_like.GithubLike, GITHUB, "", github_like.TOKEN),
    "stripe": Case(stripe_like.StripeLike, STRIPE, "", stripe_like.SECRET_KEY),
    "openaq": Case(openaq_like.OpenaqLike, OPENAQ, "", openaq_like.API_KEY),
    "pi": Case(pi_like.PiLike, PI, pi_like.USER, pi_like.PASSWORD),
    "insights": Case(insights_like.InsightsLike, INSIGHTS, insights_like.CLIENT_ID, insights_like.CLIENT_SECRET),
    "thingsboard": Case(
        thingsboard_like.ThingsboardLike, THINGSBOARD, thingsboard_like.USER, thingsboard_like.PASSWORD
    ),
    "abb": Case(abb_like.AbbLike, ABB, "", abb_like.API_KEY),
    "cognite": Case(cognite_like.CogniteLike, COGNITE, "", cognite_like.API_KEY),
}
