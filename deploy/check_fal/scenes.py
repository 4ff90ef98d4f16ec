"""The questions, in the scenes in which they can be put: a few jobs answer all of them.

A scene yields each fact as it learns it. What it has not come to when it ends is unasked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from uuid import uuid4

import httpx
import msgspec

from deploy.check_fal.answers import Answer, Unasked, word_of, words_of
from deploy.check_fal.site import LOOK_SECONDS, Job, Site
from ledger_service.generations.webhook_signatures import judge, read_keys, read_proof

LISTING_SECONDS_MAX: Final = 60.0
PROMPT_SECONDS: Final = 5.0
"""A listing that shows a submit within this time shows it at once."""
WEBHOOK_SECONDS_MAX: Final = 120.0
UNITS: Final = "x-fal-billable-units"
BLOCKERS: Final = 2
"""Jobs before the one that shall wait: as many as a new account may run at a time."""
INPUT: Final[Mapping[str, Any]] = {
    "prompt": "a paper boat",
    "image_size": "square",
    "num_images": 1,
    "num_inference_steps": 1,
}
Facts = Iterator[tuple[str, Answer]]


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """What is played, which facts it shows, and how many jobs it submits at most."""

    play: Callable[[Site], Facts]
    facts: tuple[str, ...]
    jobs: int = 0


def strangers(site: Site) -> Facts:
    """What costs nothing: a wrong key, a request that nobody made."""
    refused = words_of(site.submit_under_a_wrong_key())
    yield "wrong key", Answer(refused.text, refused.text)
    unknown = site.get(f"{site.app_url}/requests/{uuid4()}/status")
    yield "unknown request", words_of(unknown)


def one_job(site: Site) -> Facts:
    """A job from its submit to its result."""
    job = site.submit(INPUT)
    under_way = site.get(job.status_url)
    early = site.get(job.response_url)
    later = site.get(job.status_url)
    if under_way.status_code != 200:
        text = f"{under_way.status_code} {word_of(under_way)}"
        yield "status under way", Answer(text, str(under_way.status_code))
    if later.status_code != 200:  # so it was not complete before either
        yield "result before the end", words_of(early)
    yield "status at the end", words_of(site.completed(job))
    yield "billable units", _with_units(site.get(job.response_url))


def bad_input(site: Site) -> Facts:
    """A job whose input no model takes: who says so, and is it billed?"""
    tag = uuid4().hex
    answer = site.post({"num_images": 1}, tag)
    if not answer.is_success:
        said = words_of(answer)
        yield "input that no model takes", Answer(f"submit {said.text}", f"submit {said.gist}")
        return
    job = site.accepted(answer, tag)
    site.completed(job)
    said = _with_units(site.get(job.response_url))
    yield "input that no model takes", Answer(f"result {said.text}", f"result {said.gist}")


def cancel_in_the_queue(site: Site) -> Facts:
    """A job that waits behind others is cancelled: what is left of it?"""
    for _ in range(BLOCKERS):
        site.submit(INPUT)
    job = site.submit(INPUT)
    before = word_of(site.get(job.status_url))
    asked = site.cancel(job)
    if before != "IN_QUEUE":
        raise Unasked(f"it did not wait, it was {before}")
    yield "cancel in the queue", words_of(asked)
    yield "after a cancel in the queue", _end(site, job)


def cancel_while_running(site: Site) -> Facts:
    """A job that runs is cancelled: does it end, and is it billed?"""
    job = site.submit(INPUT)
    site.until(job, lambda answer: word_of(answer) != "IN_QUEUE")
    asked = site.cancel(job)
    if asked.status_code == 400:
        raise Unasked("it was complete before it could be cancelled")
    yield "cancel while running", words_of(asked)
    yield "after a cancel while running", _end(site, job)


def listing(site: Site) -> Facts:
    """How soon the platform API lists a submit, and whether it can be told by its tags."""
    job = site.submit(INPUT)
    while (item := site.listing().get(job.request_id)) is None:
        if time.monotonic() - job.accepted_at > LISTING_SECONDS_MAX:
            never = f"not within {LISTING_SECONDS_MAX:.0f} s"
            yield "listed", Answer(never, never)
            return
        time.sleep(LOOK_SECONDS)
    seconds = time.monotonic() - job.accepted_at
    complete = site.get(job.status_url).status_code == 200
    text = f"after {seconds:.1f} s, {'once complete' if complete else 'while under way'}"
    yield "listed", Answer(text, "at once" if seconds <= PROMPT_SECONDS else "late")
    tags = item.get("tags")
    has_ours = isinstance(tags, dict) and tags.get("check") == job.tag
    word = "as they were sent" if has_ours else "not there"
    yield "tags in the listing", Answer(f"{word}; it has {', '.join(sorted(item))}", word)
    listed = site.listing(tags=f"check={uuid4().hex}")
    heeded = "heeded" if not listed else "not heeded"
    yield "filter by tags", Answer(f"{heeded}: {len(listed)} bear a tag that nobody sent", heeded)


def refused(site: Site) -> Facts:
    """A prompt that the provider's checker refuses: where is that said, and is it billed?"""
    if not site.refused_prompt:
        raise Unasked("needs --refused-prompt")
    tag = uuid4().hex
    answer = site.post({**INPUT, "prompt": site.refused_prompt}, tag)
    if not answer.is_success:
        said = words_of(answer)
        yield "refused prompt", Answer(f"submit {said.text}", f"submit {said.gist}")
        yield "refused prompt's bill", Answer("not queued", "not queued")
        return
    job = site.accepted(answer, tag)
    site.completed(job)
    result = site.get(job.response_url)
    said, billed = words_of(result), billed_word(result)
    yield "refused prompt", Answer(f"result {said.text}", f"result {said.gist}")
    yield "refused prompt's bill", Answer(billed, billed)


def whole_listing(site: Site) -> Facts:
    """Whether every submit of this run is listed in the end."""
    wanted = {job.request_id for job in site.submitted}
    if not wanted:
        raise Unasked("nothing was submitted")
    deadline = time.monotonic() + LISTING_SECONDS_MAX
    while (missing := wanted - site.listing().keys()) and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    text = f"{len(wanted) - len(missing)} of {len(wanted)}"
    yield "all are listed", Answer(text, "not all" if missing else "all")


def expired(site: Site) -> Facts:
    """What is left of a request once its time is over."""
    if not site.old_request:
        raise Unasked("needs --old-request")
    base = f"{site.app_url}/requests/{site.old_request}"
    yield "status once expired", words_of(site.get(f"{base}/status"))
    yield "result once expired", words_of(site.get(base))


def webhook(site: Site) -> Facts:
    """Whether a webhook proves itself to the ledger's own judge."""
    if site.ear is None:
        raise Unasked("needs --webhook-url")
    keys = read_keys(site.public(site.jwks_url))
    job = site.submit(INPUT, site.ear.url)
    heard = site.ear.next(WEBHOOK_SECONDS_MAX)
    proof = read_proof(lambda name: heard.headers.get(name.decode(), "").encode())
    if proof is None:
        missing = "not signed, or not as documented"
        yield "webhook", Answer(missing, missing)
        return
    verdict = judge(proof, heard.body, keys, heard.at).value
    ours = proof.request_id.decode() == job.request_id
    gist = f"{verdict}, of {'this' if ours else 'another'} request"
    names = ", ".join(sorted(msgspec.json.decode(heard.body, type=dict[str, Any])))
    yield "webhook", Answer(f"{gist}, user id {proof.user_id.decode()}; {names}", gist)


SCENES: Final = (
    Scene(play=strangers, facts=("wrong key", "unknown request")),
    Scene(
        play=one_job,
        facts=("status under way", "result before the end", "status at the end", "billable units"),
        jobs=1,
    ),
    Scene(play=bad_input, facts=("input that no model takes",), jobs=1),
    Scene(play=listing, facts=("listed", "tags in the listing", "filter by tags"), jobs=1),
    Scene(
        play=cancel_in_the_queue,
        facts=("cancel in the queue", "after a cancel in the queue"),
        jobs=BLOCKERS + 1,
    ),
    Scene(
        play=cancel_while_running,
        facts=("cancel while running", "after a cancel while running"),
        jobs=1,
    ),
    Scene(play=refused, facts=("refused prompt", "refused prompt's bill"), jobs=1),
    Scene(play=webhook, facts=("webhook",), jobs=1),
    Scene(play=whole_listing, facts=("all are listed",)),
    Scene(play=expired, facts=("status once expired", "result once expired")),
)
JOBS_MAX: Final = sum(scene.jobs for scene in SCENES)
FACTS: Final = tuple(fact for scene in SCENES for fact in scene.facts)
SWITCHES: Final[Mapping[str, tuple[str, ...]]] = {
    "wrong key": ("bad-key",),
    "result before the end": ("early-result",),
    "after a cancel in the queue": ("queued-cancel",),
    "after a cancel while running": ("running-cancel", "cancel-billing"),
    "filter by tags": ("tag-filter",),
    "refused prompt": ("moderation",),
    "refused prompt's bill": ("refusal-billing",),
    "status once expired": ("expired",),
    "result once expired": ("expired",),
}
"""The emulator's switches (``--assume``) for the facts that fal's documentation leaves open."""


def interview(site: Site) -> dict[str, Answer | Unasked]:
    """Every fact, in the order of `FACTS`: what was said, or why it could not be asked."""
    told: dict[str, Answer | Unasked] = {}
    for scene in SCENES:
        reason = Unasked("it was over too soon")
        try:
            for fact, answer in scene.play(site):
                told[fact] = answer
        except Unasked as unasked:
            reason = unasked
        except (msgspec.MsgspecError, ValueError) as error:
            reason = Unasked(f"what came back makes no sense: {type(error).__name__}")
        for fact in scene.facts:
            told.setdefault(fact, reason)
    return {fact: told[fact] for fact in FACTS}


def _end(site: Site, job: Job) -> Answer:
    status = words_of(site.completed(job))
    result = _with_units(site.get(job.response_url))
    return Answer(
        f"status {status.text}; result {result.text}", f"status {status.gist}; {result.gist}"
    )


def _with_units(answer: httpx.Response) -> Answer:
    said, units = words_of(answer), answer.headers.get(UNITS)
    billed = billed_word(answer)
    return Answer(f"{said.text}, billable units: {units}", f"{said.gist}, billed: {billed}")


def billed_word(answer: httpx.Response) -> str:
    """Whether a result says that it is paid for."""
    units = answer.headers.get(UNITS)
    return "unsaid" if units is None else "nothing" if units in {"0", "0.0"} else "something"
