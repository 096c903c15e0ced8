"""Replies that say how many requests are left: all threads wait before they are refused, if that is not too long."""

import io
from typing import Any

import pytest
import requests
from requests.adapters import BaseAdapter

from smartsensor.config import ApiSettings
from smartsensor.source.errors import Forbidden, RateLimited
from smartsensor.source.http import Client
from smartsensor.source.sign_in import NoSignIn


class Answer(BaseAdapter):
    """Sends the same status and headers for ever."""

    def __init__(self, status: int, headers: dict[str, str]) -> None:
        super().__init__()
        self.status, self.headers = status, headers

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:
        response = requests.Response()
        response.status_code, response.url, response.request = self.status, request.url or "", request
        response.headers.update(self.headers)
        response.raw = io.BytesIO(b"{}")
        return response

    def close(self) -> None:
        """Nothing is open."""


class Pauses:
    """A budget that notes the pauses."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def acquire(self) -> None:
        """Let each request pass."""

    def pause(self, seconds: float) -> None:
        self.seconds.append(seconds)

    refused = pause


def client(status: int, headers: dict[str, str], budget: Pauses) -> Client:
    settings = ApiSettings("http://127.0.0.1:1", retry_budget_s=60.0, max_attempts=2)
    return Client(settings, NoSignIn(), budget, sleep=lambda seconds: None, transport=Answer(status, headers))


@pytest.mark.parametrize(
    ("headers", "pauses"),
    [
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "7"}, [7.0]),
        ({"RateLimit": "limit=100, remaining=0, reset=50"}, [50.0]),
        ({"X-RateLimit-Remaining": "1", "X-RateLimit-Reset": "7"}, []),
        (
            {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "3600"},
            [],
        ),  # the next 429 ends the run, which goes on later
        ({"X-RateLimit-Remaining": "0"}, []),
        ({}, []),
    ],
)
def test_the_last_request_that_is_left_pauses_all_threads(headers: dict[str, str], pauses: list[float]) -> None:
    budget = Pauses()
    client(200, headers, budget).get("/things")
    assert budget.seconds == pauses


def test_a_403_of_a_limit_that_is_used_up_is_no_missing_permission() -> None:
    used_up = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "7"}
    with pytest.raises(RateLimited) as found:
        client(403, used_up, Pauses()).get("/things")
    assert found.value.asked_s == 7.0
    with pytest.raises(Forbidden):
        client(403, {"X-RateLimit-Remaining": "5", "X-RateLimit-Reset": "7"}, Pauses()).get("/things")
