"""The live service, with its clockwork, against the oracle. `make oracle` asks far more of it."""

from __future__ import annotations

import pytest

from tests.fixtures.hand_worker import HandWorker
from tests.fixtures.live import environment, serve
from tests.fixtures.services import Database, Processes
from tests.oracle.driving import Drive

COMMANDS = 3_000


@pytest.mark.slow
@pytest.mark.parametrize("has_clockwork", [True, False])
def test_the_service_and_the_oracle_agree(
    has_clockwork: bool, processes: Processes, database: Database
) -> None:
    """Every answer, and all that can be read in the end, is what the naive model says."""
    live = serve(processes, database)
    if has_clockwork:
        env = environment(database, processes.folder)
        processes.start("ledger_service", "clockwork", env=env)
    drive = Drive(live.caller.http, 1, worker=HandWorker(live.worker), families=40)
    drive.run(COMMANDS)
    live.close()
    told = [(*family.history, *family.differences) for family in drive.disagreements]
    assert not told, "\n".join(sorted(told, key=len)[0])
    assert drive.done >= COMMANDS
