"""The words of a declaration, in one import: `from smartsensor.declare import INSTANT, Resource, Source, columns`.

Resources and their columns, styles of paging, where rows are and how they are sent, filters, counts and sign-ins. This file is
written by hand; each word is explained in its room.
"""

from smartsensor.source.filters import CountEndpoint, CountField, CountHeader, TimeFilter
from smartsensor.source.http import Probes
from smartsensor.source.paging import (
    CursorPaging,
    HeaderCursorPaging,
    KeysetPaging,
    LinkPaging,
    NextUrlPaging,
    OffsetPaging,
    PageNumberPaging,
    Paging,
    SplitPaging,
)
from smartsensor.source.resources import FLAG, INSTANT, REAL, TEXT, WHOLE, Parents, Resource, columns
from smartsensor.source.shapes import Columns, Each, Members, Sent, Unpivot
from smartsensor.source.sign_in import (
    ApiKey,
    AwsSigV4,
    BasicAuth,
    BearerToken,
    CustomAuth,
    KeyExchange,
    NoSignIn,
    OAuthClientCredentials,
    OAuthRefreshToken,
)
from smartsensor.source.sources import Source

__all__ = [
    "FLAG",
    "INSTANT",
    "REAL",
    "TEXT",
    "WHOLE",
    "ApiKey",
    "AwsSigV4",
    "BasicAuth",
    "BearerToken",
    "Columns",
    "CountEndpoint",
    "CountField",
    "CountHeader",
    "CursorPaging",
    "CustomAuth",
    "Each",
    "HeaderCursorPaging",
    "KeyExchange",
    "KeysetPaging",
    "LinkPaging",
    "Members",
    "NextUrlPaging",
    "NoSignIn",
    "OAuthClientCredentials",
    "OAuthRefreshToken",
    "OffsetPaging",
    "PageNumberPaging",
    "Paging",
    "Parents",
    "Probes",
    "Resource",
    "Sent",
    "Source",
    "SplitPaging",
    "TimeFilter",
    "Unpivot",
    "columns",
]
