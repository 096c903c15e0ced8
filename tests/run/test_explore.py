"""Eight fake APIs that nobody has declared: what a look at each shows, and the draft that it leads to, which reads the truth."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import abb_like
import cognite_like
import github_like
import insights_like
import openaq_like
import pi_like
import pyarrow as pa
import pytest
import stripe_like
import thingsboard_like
from server import FakeApi, epoch_ms, iso

import smartsensor
from smartsensor.config import ConfigError
from smartsensor.declare import (
    ApiKey,
    BasicAuth,
    BearerToken,
    KeyExchange,
    KeysetPaging,
    LinkPaging,
    NextUrlPaging,
    OAuthClientCredentials,
    OffsetPaging,
    PageNumberPaging,
    Paging,
    SplitPaging,
    TimeFilter,
)
from smartsensor.jobs.drafts import Draft
from smartsensor.quality.gate import Gate
from smartsensor.quality.suites import read_suite
from smartsensor.run.displays import draft_card
from smartsensor.run.explore import ExploredApi, ExploredPage
from smartsensor.run.plots import plot_rows
from smartsensor.source.errors import ContractError
from smartsensor.source.http import Client
from smartsensor.source.resources import Resource
from smartsensor.source.sources import load_source
from smartsensor.windows import Window

DEVICE = thingsboard_like.device_id(1)
LOGIN = KeyExchange("/api/auth/login", {"username": "{id}", "password": "{secret}"}, "token", header="X-Authorization")


def nothing(api: FakeApi) -> dict[str, Any]:
    return {}


def between(since: str, before: str, form: Callable[[datetime], Any] = iso) -> Callable[[FakeApi], dict[str, Any]]:
    return lambda api: {since: form(api.start), before: form(api.now)}


@dataclass(frozen=True)
class Case:
    "An API, the one request that a person makes of it, and what the draft must find."

    kind: type[FakeApi]
    auth: Any
    id: str
    secret: str
    path: str
    key: tuple[str, ...]
    field: str
    filter: TimeFilter
    paging: Paging
    params: Callable[[FakeApi], dict[str, Any]] = nothing
    only: Mapping[str, Any] | None = None  # the truth's rows that this path has


CASES = {
    "github": Case(
        github_like.GithubLike, BearerToken(), "", github_like.TOKEN, github_like.PATH,
        ("id",), "updated_at", TimeFilter("since", None), LinkPaging(), lambda api: {"state": "all"},
    ),
    "stripe": Case(
        stripe_like.StripeLike, BasicAuth("{secret}", ""), "", stripe_like.SECRET_KEY, stripe_like.PATH,
        ("id",), "created", TimeFilter("created[gte]", "created[lt]", "s"), KeysetPaging(has_more="has_more"),
    ),
    "openaq": Case(
        openaq_like.OpenaqLike, ApiKey(), "", openaq_like.API_KEY, "/v3/sensors/23534/measurements",
        ("period_datetimeTo_utc",), "period_datetimeTo_utc",
        TimeFilter("datetime_from", "datetime_to", since_excluded=True, before_included=True), PageNumberPaging(), only={"sensor_id": 23534},
    ),
    "pi": Case(
        pi_like.PiLike, BasicAuth(), pi_like.USER, pi_like.PASSWORD, pi_like.PATH,
        ("WebId", "Timestamp"), "Timestamp", TimeFilter("startTime", "endTime", before_included=True),
        NextUrlPaging(next_url="Links.Next", limit_param="maxCount", ends_on=("null", "absent")),
    ),
    "insights": Case(
        insights_like.InsightsLike, OAuthClientCredentials("/oauth/token"), insights_like.CLIENT_ID, insights_like.CLIENT_SECRET, insights_like.PATH,
        ("name", "_time"), "_time", TimeFilter("from", "to", since_excluded=True, before_included=True),
        LinkPaging(limit_param="limit"), between("from", "to"),
    ),
    "thingsboard": Case(
        thingsboard_like.ThingsboardLike, LOGIN, thingsboard_like.USER, thingsboard_like.PASSWORD,
        f"/api/plugins/telemetry/DEVICE/{DEVICE}/values/timeseries", ("key", "ts"), "ts", TimeFilter("startTs", "endTs", "ms"),
        SplitPaging(1000), between("startTs", "endTs", epoch_ms), {"device_id": DEVICE},
    ),
    "abb": Case(
        abb_like.AbbLike, KeyExchange(), "", abb_like.API_KEY, "/Measurement/Value",
        ("measurementTypeID", "measurementCreated"), "measurementCreated", TimeFilter("from", "to", before_included=True), Paging(),
        lambda api: {"assetID": 70001, "measurementTypes": "1,2,3", **between("from", "to")(api)}, {"asset_id": 70001},
    ),
    "cognite": Case(
        cognite_like.CogniteLike, ApiKey("api-key"), "", cognite_like.API_KEY, cognite_like.PATH,
        ("id",), "startTime", TimeFilter("minStartTime", "maxStartTime", "ms", before_included=True), OffsetPaging(total="total"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Looked:
    case: Case
    server: FakeApi
    page: ExploredPage
    draft: Draft


@pytest.fixture(scope="module", params=list(CASES))
def looked(request: pytest.FixtureRequest) -> Iterator[Looked]:
    case = CASES[request.param]
    with case.kind() as server:
        api = smartsensor.explore(server.url, case.auth, id=case.id, secret=case.secret, rate_per_s=1000)
        page = api.get(case.path, case.params(server))
        yield Looked(case, server, page, page.draft())


def read_all(client: Client, resource: Resource, server: FakeApi) -> pa.Table:
    "The rows of the draft in all windows of six hours, as a run reads and cuts them."
    start, batches = server.start, []
    while start < server.now:
        window = Window(start, start + timedelta(hours=6))
        batches += [page.batch for page in client.pages(resource, window)]
        start = window.end
    table = pa.Table.from_batches(batches)
    field = resource.incremental_field or ""
    kept = [server.start <= at < server.now for at in table.column(field).to_pylist()]
    return table.filter(pa.array(kept)).group_by([*resource.key]).aggregate([])


def test_the_draft_finds_key_paging_and_time(looked: Looked) -> None:
    case, resource = looked.case, looked.draft.resource
    assert resource.key == case.key
    assert (resource.mode, resource.incremental_field) == ("incremental", case.field)
    assert resource.filter == case.filter
    assert resource.paging == case.paging
    confidence = {one.about: one.confidence for one in looked.draft.decisions}
    assert confidence["read back"] == "tested"
    assert confidence["time filter"] == "tested"
    assert confidence["paging"] == ("likely" if type(case.paging) is Paging else "tested")


def test_the_draft_reads_what_the_server_has(looked: Looked) -> None:
    only = looked.case.only or {}
    truth = looked.server.truth(looked.server.start, looked.server.now)
    truth = [row for row in truth if all(row[name] == value for name, value in only.items())]
    assert len(truth) > 40
    assert read_all(looked.page.client, looked.draft.resource, looked.server).num_rows == len(truth)


def test_a_path_that_names_one_of_many_is_said(looked: Looked) -> None:
    parents = [one for one in looked.draft.decisions if one.about == "parents"]
    one_of_many = looked.case.kind not in (github_like.GithubLike, stripe_like.StripeLike, cognite_like.CogniteLike)
    assert [one.confidence for one in parents] == (["open"] if one_of_many else [])


def test_the_code_is_short_and_gives_the_same_resource(looked: Looked) -> None:
    text, space = looked.draft.code(), dict[str, Any]()
    assert len(text.splitlines()) <= 30
    exec(text, space)
    (made,) = [value for value in space.values() if isinstance(value, Resource)]
    assert made == looked.draft.resource


def test_the_first_suites_judge_the_sample(looked: Looked, tmp_path: Path) -> None:
    resource, sample = looked.draft.resource, looked.draft.sample
    files = looked.draft.write_suites(tmp_path)
    assert [file.name for file in files] == [f"{resource.name}.{zone}.json" for zone in ("raw", "qualified")]
    with pytest.raises(FileExistsError):
        looked.draft.write_suites(tmp_path)
    read_suite(files[0])
    gate = Gate(tmp_path, "20261125T000000Z-test")
    for zone in ("raw", "qualified"):
        verdict = gate.judge(sample, resource.name, zone, {"expected_rows": sample.num_rows})
        wrong = [finding.name for finding in verdict.findings if not finding.success]
        assert wrong in ([], ["no-unknown-fields"]), wrong
        assert not verdict.held


def test_a_page_is_shown_without_its_secret(looked: Looked) -> None:
    html = looked.page._repr_html_()
    assert f"{looked.page.rows:,}, at " in html
    assert looked.case.field in html
    for text in (html, repr(looked.page), draft_card(looked.draft), looked.draft.code()):
        assert looked.case.secret not in text
    assert max(len(repr(looked.page)), len(repr(looked.draft))) <= 200


def test_the_picture_fits_the_rows(looked: Looked) -> None:
    figure = looked.page.plot()
    events = looked.case.kind in (github_like.GithubLike, stripe_like.StripeLike, cognite_like.CogniteLike)
    drawn = [len(axes.patches if events else axes.lines) for axes in figure.axes]
    assert min(drawn) > 0


@pytest.fixture
def cognite() -> Iterator[tuple[FakeApi, ExploredApi]]:
    with cognite_like.CogniteLike() as server:
        yield server, smartsensor.explore(server.url, ApiKey("api-key"), secret=cognite_like.API_KEY, rate_per_s=1000)


def test_drift_against_a_declaration_is_coloured(cognite: tuple[FakeApi, ExploredApi]) -> None:
    _, api = cognite
    declared = api.get(cognite_like.PATH).draft(requests=0).resource
    names = [name for name in declared.schema.names if name != "type"]
    schema = pa.schema([declared.schema.field(name) for name in names]).append(pa.field("plant", pa.string()))
    schema = schema.set(schema.get_field_index("externalId"), pa.field("externalId", pa.int64()))
    changed = Resource(
        "events", cognite_like.PATH, ("id",), schema, "snapshot", version=(), rows="items", sent=declared.sent
    )
    source = smartsensor.Source("cognite", (changed,))
    api = ExploredApi(api.client, source)
    html = api.get(cognite_like.PATH)._repr_html_()
    for text in (
        "new: it is kept in _extra",
        "externalId: str does not fit int64",
        "declared, and absent",
        "int64, as declared",
    ):
        assert text in html


def test_no_secret_goes_to_another_host(cognite: tuple[FakeApi, ExploredApi]) -> None:
    _, api = cognite
    with pytest.raises(ConfigError, match="is not below"):
        api.get("https://example.org/events")


def test_a_secret_among_the_parameters_is_hidden(cognite: tuple[FakeApi, ExploredApi]) -> None:
    _, api = cognite
    page = api.get(cognite_like.PATH, api_key="something-long", limit=5)
    assert "something-long" not in page._repr_html_() + repr(page)


def test_a_message_is_no_row(cognite: tuple[FakeApi, ExploredApi]) -> None:
    server, api = cognite
    server.rows = []
    page = api.get(cognite_like.PATH)
    assert "there is no list of rows in it" in page._repr_html_()
    with pytest.raises(ContractError, match="nothing to infer from"):
        page.draft()


def test_a_draft_sends_no_more_requests_than_it_may(cognite: tuple[FakeApi, ExploredApi]) -> None:
    server, api = cognite
    page = api.get(cognite_like.PATH)
    before = len(server.log)
    draft = page.draft(requests=3)
    assert len(server.log) - before == draft.requests == 3
    assert "3 requests were sent" in " ".join(one.why for one in draft.decisions)


def test_nothing_to_draw_is_said() -> None:
    figure = plot_rows(pa.table({"id": ["a", "b"]}))
    assert "Nothing to draw" in figure.axes[0].texts[0].get_text()


@pytest.mark.parametrize("suffix", [".py", ".ipynb"])
def test_the_command_writes_a_source_that_opens(
    cognite: tuple[FakeApi, ExploredApi], tmp_path: Path, suffix: str
) -> None:
    server, _ = cognite
    out = tmp_path / f"source{suffix}"
    words = [
        "discover",
        server.url + cognite_like.PATH,
        "--auth",
        "api-key=api-key",
        "--out",
        str(out),
        "--suites",
        str(tmp_path),
    ]
    command = "import sys; from smartsensor.run.cli import run_command; sys.exit(run_command(sys.argv[1:]))"
    env = {"PATH": "/usr/bin", "SMARTSENSOR_CLIENT_SECRET": cognite_like.API_KEY}
    done = subprocess.run(
        [sys.executable, "-c", command, *words], capture_output=True, text=True, env=env, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "tested paging: OffsetPaging" in done.stdout
    assert cognite_like.API_KEY not in done.stdout + out.read_text()
    source = load_source(str(out))
    assert source.base_url == server.url
    assert source.resources["events"].key == ("id",)
    assert json.loads((tmp_path / "events.raw.json").read_text())["name"] == "events.raw"
