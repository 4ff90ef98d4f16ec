"""`prices margin`: what generations brought in and cost, against figures made by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ledger_service.generations.document import shipped
from tests.fixtures.hand_worker import ASSET, FAILED, SUCCEEDED, HandWorker
from tests.fixtures.live import LiveLedger, expect, serve
from tests.fixtures.services import Database, Processes

pytestmark = pytest.mark.slow

LITE, FLUX = "veo-3.1-lite", "flux-schnell"
UNIT_COST_MICROS = 25_000
"""Of a second of LITE: its 8 s cost 200,000, and are sold for 20 credits. FLUX has no cost."""
HALF_A_FILM = {"asset": ASSET | {"duration_seconds": 4.0}}


class Studio:
    """Orders generations and says what became of them."""

    def __init__(self, live: LiveLedger) -> None:
        self.caller = live.caller
        self.hand = HandWorker(live.worker)

    def sell(self, account_id: str, amount: int, unit_cost_micros: int, **terms: Any) -> None:
        """Credits that somebody paid for."""
        paid = {"source": "purchase", "currency": "USD", "unit_cost_micros": unit_cost_micros}
        self.caller.grant(account_id, amount, **(paid | terms))

    def make(
        self, account_id: str, event: dict[str, Any], model: str = LITE, **content: Any
    ) -> Any:
        """One generation, ended by this report; returns its claim."""
        body = {"account_id": account_id, "model": model, "input": {"prompt": "a boat", **content}}
        generation = expect(202, self.caller.post("/v1/generations", body))["generation"]
        claim = self.hand.claim(generation["generation_id"])
        assert expect(200, self.hand.report(claim, event))["accepted"]
        return claim


@pytest.fixture
def live(database: Database, processes: Processes, tmp_path: Path) -> Iterator[LiveLedger]:
    """A ledger whose catalogue knows what a second of LITE costs."""
    document = msgspec.to_builtins(shipped()) | {"book": 2}
    for entry in document["models"]:
        if entry["model"] == LITE:
            entry["price"]["unit_cost_micros"] = UNIT_COST_MICROS
    path = tmp_path / "catalogue.json"
    path.write_bytes(msgspec.json.encode(document))
    ledger = serve(processes, database, CATALOGUE_FILE=str(path))
    yield ledger
    ledger.close()


@pytest.fixture
def studio(live: LiveLedger) -> Studio:
    """A history with every kind of payment and cost."""
    made = Studio(live)
    made.sell("ann", 100, 20_000)
    made.sell("eve", 12, 30_000, priority=10)
    made.sell("eve", 100, 10_000)
    made.caller.grant("bob", 100)
    made.caller.grant("zoe", 1, priority=90)
    body = {"from_account_id": "ann", "to_account_id": "zoe", "amount": 20, "reason": "a gift"}
    expect(201, made.caller.post("/v1/transfers", body))
    made.make("ann", SUCCEEDED | {"billable_units": "8"})  # +20 at 20,000
    made.make("eve", SUCCEEDED | {"billable_units": "8"})  # +12 at 30,000, +8 at 10,000
    made.make("zoe", SUCCEEDED | {"billable_units": "8"})  # +20 at 20,000, of what ann had paid
    made.make("ann", SUCCEEDED | HALF_A_FILM | {"billable_units": "4"})  # 10 of 20 given back
    made.make("ann", FAILED)  # free, and refunded
    made.make("bob", FAILED | {"billable_units": "4"})  # refunded, and billed: ours
    late = made.make("ann", FAILED)
    assert expect(200, made.hand.report(late, SUCCEEDED | {"billable_units": "8.0"}))["accepted"]
    image = ASSET | {"content_type": "image/png"}
    made.make("bob", SUCCEEDED | {"asset": image}, FLUX, image_size="square")  # 1, of a promotion
    made.caller.grant("kim", 1, unit_cost_micros=0)
    made.make("kim", SUCCEEDED | {"asset": image}, FLUX, image_size="square")  # 1, of a gift
    return made


def margins(processes: Processes, live: LiveLedger, *arguments: str) -> Any:
    """What the command prints."""
    env = live.process.command.env
    return json.loads(
        processes.run("ledger_service", "prices", "margin", "--json", *arguments, env=env)
    )


def test_the_figures_are_those_made_by_hand(
    processes: Processes, live: LiveLedger, studio: Studio
) -> None:
    """Revenue by the lots that paid, less what was given back; cost by the provider's units."""
    told = margins(processes, live)
    flux, lite = told["models"]
    assert lite == {
        "model": LITE,
        "generations": 7,
        "charged": 7 * 20,
        "refunded": 10 + 3 * 20,
        "units": "40.0",
        "units_assumed": 0,
        "cost_micros": 40 * UNIT_COST_MICROS,
        "uncosted": 0,
        "unpriced": 0,
        "revenue_micros": {"USD": 400_000 + 440_000 + 400_000 + 200_000},
        "margin_micros": 1_440_000 - 1_000_000,
    }
    assert (flux["charged"], flux["unpriced"]) == (2, 1)
    assert (flux["units"], flux["units_assumed"], flux["uncosted"]) == ("2", 2, 2)
    assert (flux["cost_micros"], flux["revenue_micros"], flux["margin_micros"]) == (None, {}, None)
    total = told["total"]
    assert (total["generations"], total["charged"], total["refunded"]) == (9, 142, 70)
    assert (total["cost_micros"], total["margin_micros"]) == (1_000_000, 440_000)
    assert told["ours"] == [
        {"reason": "billed_failure", "model": LITE, "generations": 1, "units": "4",
         "cost_micros": 100_000},
        {"reason": "late_success", "model": LITE, "generations": 1, "units": "8.0",
         "cost_micros": 200_000},
    ]  # fmt: skip
    assert margins(processes, live, "--since", "2999-01-01")["total"]["generations"] == 0


def test_people_read_money_and_what_is_missing_in_it(
    processes: Processes, live: LiveLedger, studio: Studio
) -> None:
    """Whole units of the currency in a table; several currencies make no sum and no margin."""
    env = live.process.command.env
    printed = processes.run("ledger_service", "prices", "margin", env=env)
    rows = {line.split()[0]: line.split()[1:] for line in printed.splitlines()[2:]}
    assert rows["total"] == ["9", "142", "70", "1.4400", "1.0000", "0.4400"]
    assert rows[FLUX] == ["2", "2", "0", "2", "0.0000", "-", "-"]
    assert "a boat" not in printed
    studio.sell("hans", 20, 50_000, currency="EUR")
    studio.make("hans", SUCCEEDED | {"billable_units": "8"})
    told = margins(processes, live)
    assert told["total"]["revenue_micros"] == {"EUR": 1_000_000, "USD": 1_440_000}
    assert told["total"]["margin_micros"] is None
    printed = processes.run("ledger_service", "prices", "margin", env=env)
    assert "several currencies and makes no sum: EUR 1.0000, USD 1.4400" in printed
