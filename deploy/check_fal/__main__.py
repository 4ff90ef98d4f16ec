"""`make check-fal ARGS="--max-usd 0.50 --yes-spend-money"`: ask fal.ai what its docs leave open.

Submits a few jobs of the cheapest model with FAL_KEY, which costs money there, and holds each
answer against the emulator's. Without consent and a cap it only says what it would do.
Exit status: 0 nothing differs, or --list, 1 something differs, 2 nothing was sent.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

from deploy.check_fal.answers import Unasked
from deploy.check_fal.beside import emulator
from deploy.check_fal.budget import Budget
from deploy.check_fal.ear import Ear, listening
from deploy.check_fal.scenes import JOBS_MAX, SCENES, SWITCHES, interview
from deploy.check_fal.site import Site
from deploy.check_fal.table import compare, lines
from deploy.emulators.fal.assumptions import choices

ENDPOINT: Final = "fal-ai/flux/schnell"
USD_PER_JOB: Final = 0.01
"""A guess above the price of one small image, for the estimate alone: the price list decides."""
SAME, DIFFERENT, NOTHING_SENT = 0, 1, 2


def main() -> int:
    """Explain, ask, print."""
    options = parser().parse_args()
    if options.list:
        print("\n".join(questions()))
        return SAME
    key = os.environ.get("FAL_KEY", "")
    print(f"Asks {options.fal_url} with up to {JOBS_MAX} jobs of {options.endpoint},")
    print(f"estimated at {JOBS_MAX * options.usd_per_job:.2f} USD ({options.usd_per_job} each).")
    if missing := list(_missing(options, key)):
        print("Nothing was sent. What is missing:")
        for text in missing:
            print(f"  {text}")
        return NOTHING_SENT
    print(f"Stops before it costs more than {options.max_usd:.2f} USD.", flush=True)
    return ask(options, key)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(
        prog="make check-fal",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = arguments.add_argument
    add("--max-usd", type=_dollars, help="what it may cost at most; required")
    add("--yes-spend-money", action="store_true", help="you agree that it costs money; required")
    add("--list", action="store_true", help="show every question, what it takes, and end")
    add("--endpoint", default=ENDPOINT, help="an image model that takes num_images (%(default)s)")
    add("--usd-per-job", type=_dollars, default=USD_PER_JOB, help="for the estimate (%(default)s)")
    add("--old-request", default="", help="id of a request of this endpoint that has expired")
    add("--refused-prompt", default="", help="a prompt that fal's checker refuses, as you know")
    add("--webhook-url", default="", help="public URL that a tunnel leads to --webhook-port")
    add("--webhook-port", type=int, default=8791, help="loopback port it ends at (%(default)s)")
    add("--fal-url", default="https://queue.fal.run", help="the queue (%(default)s)")
    add("--api-url", default="https://api.fal.ai/v1", help="the platform API (%(default)s)")
    add(
        "--jwks-url",
        default="https://rest.fal.ai/.well-known/jwks.json",
        help="the keys of webhooks (%(default)s)",
    )
    return arguments


def ask(options: argparse.Namespace, key: str) -> int:
    """Put every question to both, at the same time, and compare."""
    budget = Budget(options.max_usd, options.usd_per_job)
    with _ear(options) as ear, listening(0) as own_ear:
        site = Site(
            queue_url=options.fal_url.rstrip("/"),
            api_url=options.api_url.rstrip("/"),
            jwks_url=options.jwks_url,
            key=key,
            endpoint=options.endpoint,
            budget=budget,
            old_request=options.old_request,
            refused_prompt=options.refused_prompt,
            ear=ear,
        )
        _learn_price(site, budget)
        with emulator(options.endpoint, own_ear) as beside, ThreadPoolExecutor(2) as threads:
            said, expected = threads.map(interview, (site, beside))
        site.close()
    rows = compare(said, expected, key)
    print("\n".join(lines(rows)))
    differing = [row.fact for row in rows if row.verdict == "DIFFERS"]
    unasked = [row.fact for row in rows if row.verdict == "could not be asked"]
    print(f"\n{budget.jobs} jobs, at most {budget.spent_usd:.3f} USD.", end=" ")
    print(f"{len(differing)} facts differ, {len(unasked)} could not be asked.")
    for fact in differing:
        for name in SWITCHES.get(fact, ()):
            print(f"{fact}: the emulator's --assume {name}={'|'.join(choices()[name])}")
    if site.submitted:
        print(f"Once it has expired: --old-request {site.submitted[0].request_id}")
    return DIFFERENT if differing else SAME


def questions() -> Iterator[str]:
    """Every question, the jobs that it costs, and the emulator's switch where nobody knows."""
    yield f"{'jobs':<6}{'fact':<32}the emulator's switch"
    for scene in SCENES:
        for number, fact in enumerate(scene.facts):
            jobs = "" if number else str(scene.jobs)
            names = SWITCHES.get(fact, ())
            switches = ", ".join(f"--assume {name}={'|'.join(choices()[name])}" for name in names)
            yield f"{jobs:<6}{fact:<32}{switches}".rstrip()


def _missing(options: argparse.Namespace, key: str) -> Iterator[str]:
    if options.max_usd is None:
        yield "--max-usd: a cap on what this may cost"
    if not options.yes_spend_money:
        yield "--yes-spend-money: it costs real money, and only you can agree to that"
    if not key:
        yield "FAL_KEY in the environment: whose account pays"


def _learn_price(site: Site, budget: Budget) -> None:
    """Book at the provider's own price, if that is above what was assumed."""
    try:
        price = site.price_usd()
    except Unasked as unasked:
        print(f"The price list could not be read ({unasked}).", flush=True)
        return
    budget.learn_price(price)
    print(f"The price list says {price} USD for a unit; booked: {budget.usd_per_job} for a job.")


@contextmanager
def _ear(options: argparse.Namespace) -> Iterator[Ear | None]:
    if not options.webhook_url:
        yield None
        return
    with listening(options.webhook_port, options.webhook_url) as ear:
        yield ear


def _dollars(text: str) -> float:
    dollars = float(text)
    if not 0 <= dollars <= 100:  # also false for what is no number
        raise argparse.ArgumentTypeError("must be from 0 to 100")
    return dollars


if __name__ == "__main__":
    sys.exit(main())
