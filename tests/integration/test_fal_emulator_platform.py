"""The platform API: models, prices, usage, balance, deletion, and who may do what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import msgspec
import pytest

from deploy.emulators.fal.models import MODELS
from tests.fixtures.fal_emulator import IMAGE, VIDEO, Emulator, running

ADMIN = {"authorization": "Key id:admin"}
OTHER = {"authorization": "Key id:two"}
ADMIN_CALLS = (
    ("GET", "/v1/account/billing?expand=credits"),
    ("GET", "/v1/models/usage"),
    ("DELETE", "/v1/models/requests/{id}/payloads"),
)


@pytest.fixture(scope="module")
def fal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """A provider with two customers, of whom the first has an admin key; its time stands still."""
    keys = ("--key", "id:one", "--key", "id:two", "--admin-key", "id:admin")
    options = ("--job-seconds", "0", "--concurrency", "100", "--clock", "virtual")
    with running(tmp_path_factory.mktemp("fal"), *keys, *options) as emulator:
        yield emulator


def read(fal: Emulator, path: str, **query: Any) -> Any:
    """What the first customer's admin key is told."""
    answer = fal.http.get(path, params=query, headers=ADMIN)
    assert answer.status_code == 200, answer.text
    return answer.json()


def advance(fal: Emulator, seconds: float) -> str:
    """Move the clock; returns the time."""
    now: str = fal.http.post("/admin/clock", json={"advance_seconds": seconds}).json()["now"]
    return now


@pytest.mark.parametrize(("method", "path"), ADMIN_CALLS)
def test_an_ordinary_key_may_not_do_what_an_admin_key_may(
    fal: Emulator, method: str, path: str
) -> None:
    """401 without a key, 403 with one that is no admin key, in the words of that API."""
    path = path.format(id=fal.submit()["request_id"])
    for headers, status in (({"authorization": "Key x:y"}, 401), ({}, 403), (OTHER, 403)):
        refused = fal.http.request(method, path, headers=headers)
        assert refused.status_code == status
        assert refused.json()["error"]["type"] == "authorization_error"
    assert fal.http.request(method, path, headers=ADMIN).status_code == 200


def test_an_admin_key_acts_for_the_first_customer_alone(fal: Emulator) -> None:
    """It shares an account with the first key: the other's requests do not exist for it."""
    own, others = fal.submit(), fal.http.post(f"/{VIDEO}", json={"prompt": "x"}, headers=OTHER)
    path = "/v1/models/requests/{}/payloads"
    mine = path.format(own["request_id"])
    theirs = path.format(others.json()["request_id"])
    assert fal.http.get(own["status_url"], headers=ADMIN).status_code == 200
    assert fal.http.delete(mine, headers=ADMIN).status_code == 200
    assert fal.http.delete(theirs, headers=ADMIN).status_code == 404
    assert fal.http.get(own["response_url"]).status_code == 404


def test_the_catalogue_tells_of_every_model(fal: Emulator) -> None:
    """All of them, page by page; by name, by word and by status; anybody may ask."""
    found: list[str] = []
    query: dict[str, Any] = {"limit": 7}
    with httpx.Client(base_url=fal.url, trust_env=False) as stranger:
        while True:
            page = stranger.get("/v1/models", params=query).json()
            found += [model["endpoint_id"] for model in page["models"]]
            if not page["has_more"]:
                break
            query["cursor"] = page["next_cursor"]
    assert found == sorted(MODELS)
    old = read(fal, "/v1/models", status="deprecated")["models"]
    assert [model["endpoint_id"] for model in old] == ["fal-ai/sora-2/image-to-video"]
    assert old[0]["metadata"]["status"] == "deprecated"
    two = read(fal, "/v1/models", endpoint_id=f"{VIDEO},{IMAGE}")["models"]
    assert [model["metadata"]["category"] for model in two] == ["text-to-image", "text-to-video"]
    assert len(read(fal, "/v1/models", q="flux")["models"]) == 2
    assert fal.http.get("/v1/models?status=odd").json()["error"]["type"] == "validation_error"


def test_a_models_description_accepts_what_the_model_accepts(fal: Emulator) -> None:
    """The input's schema is that of the checks, and its paths are those of the queue."""
    listed = read(fal, "/v1/models", endpoint_id=IMAGE, expand="openapi-3.0")
    (document,) = [model["openapi"] for model in listed["models"]]
    assert document == read(fal, "/api/openapi/queue/openapi.json", endpoint_id=IMAGE)
    schemas = document["components"]["schemas"]
    inputs: tuple[dict[str, Any], ...] = (
        {"prompt": "x"},
        {"prompt": "x", "image_size": {"width": 64}, "num_images": 4, "seed": 0},
        {},
        {"prompt": "x", "num_images": 5},
        {"prompt": "x", "image_size": "round"},
        {"prompt": 1},
    )
    for given in inputs:
        ends_well = fal.result(fal.submit(endpoint=IMAGE, **{"prompt": None, **given})).is_success
        assert jsonschema.Draft7Validator(schemas["Input"]).is_valid(given) is ends_well
    job = fal.submit(endpoint=IMAGE)
    status = fal.http.get(job["status_url"]).json() | {"logs": []}
    jsonschema.validate(status, schemas["QueueStatus"])
    jsonschema.validate(fal.result(job).json(), schemas["Output"])
    assert set(document["paths"]) == {
        f"/{IMAGE}",
        *(f"/{IMAGE}/requests/{{request_id}}{end}" for end in ("", "/status", "/cancel")),
    }


def test_no_more_than_fifty_prices_at_once(fal: Emulator) -> None:
    """Fifty are answered, one more is too many."""
    names = [f"a/b{number}" for number in range(51)]
    assert len(read(fal, "/v1/models/pricing", endpoint_id=names[:50])["prices"]) == 50
    refused = fal.http.get("/v1/models/pricing", params={"endpoint_id": names})
    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "validation_error")


def estimate(fal: Emulator, kind: str, **quantities: float) -> Any:
    """What so many films cost."""
    asked = {"estimate_type": kind, "endpoints": {VIDEO: quantities}}
    return fal.http.post("/v1/models/pricing/estimate", json=asked).json()


def test_estimates_go_by_units_or_by_the_past(fal: Emulator) -> None:
    """So many seconds at their price, or so many films of the length of past ones."""
    fal.http.post("/admin/reset")
    by_units = estimate(fal, "unit_price", unit_quantity=8)
    assert by_units == {"estimate_type": "unit_price", "total_cost": 0.8, "currency": "USD"}
    for duration in ("4s", "8s"):
        fal.submit(duration=duration)
    assert estimate(fal, "historical_api_price", call_quantity=10)["total_cost"] == 6.0
    for wrong in ({"unit_quantity": 1}, {}, {"call_quantity": -1}):
        told = estimate(fal, "historical_api_price", **wrong)
        assert told["error"]["type"] == "validation_error"


def test_usage_is_what_was_billed_by_day(fal: Emulator) -> None:
    """Successes alone, in the day they ended, in the time zone that is asked for; failures and
    other customers' jobs cost nothing here."""
    fal.http.post("/admin/reset")
    fal.submit(duration="4s")
    fal.submit("[[fal:fail]]")
    fal.http.post(f"/{VIDEO}", json={"prompt": "x"}, headers=OTHER)
    now = advance(fal, 24 * 3600)
    fal.submit(duration="6s")
    fal.submit(endpoint=IMAGE, num_images=2)
    expand = ["time_series", "summary", "auth_method"]
    told = read(fal, "/v1/models/usage", start="2020-01-01", expand=expand)
    first, second = told["time_series"]
    assert second["bucket"] == f"{now[:10]}T00:00:00+00:00"
    assert [line["quantity"] for line in first["results"]] == [4]
    assert [line["quantity"] for line in second["results"]] == [2, 6]
    assert [line["cost"] for line in told["summary"]] == [0.05, 1.0]
    assert told["summary"][0]["auth_method"].startswith("user_")
    recent = read(fal, "/v1/models/usage", endpoint_id=IMAGE, timeframe="hour")
    assert [len(bucket["results"]) for bucket in recent["time_series"]] == [1]
    odd = read(fal, "/v1/models/usage", timezone="Asia/Kathmandu", timeframe="week")
    assert odd["time_series"][-1]["bucket"].endswith("T00:00:00+05:45")
    for wrong in ({"timezone": "Nowhere/At-all"}, {"timeframe": "aeon"}, {"start": "yesterday"}):
        answer = fal.http.get("/v1/models/usage", params=wrong, headers=ADMIN)
        assert answer.status_code == 400


def test_the_balance_is_what_is_left(fal: Emulator) -> None:
    """Of the first customer, for the admin key."""
    fal.http.post("/admin/balance", json={"usd": 10})
    fal.submit(duration="8s")
    told = read(fal, "/v1/account/billing", expand="credits")
    assert told["credits"] == {"current_balance": 9.2, "currency": "USD"}
    assert msgspec.json.encode(told).startswith(b'{"username":"user_')
