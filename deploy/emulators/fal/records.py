"""A submit and the job it becomes, as values; and what they decide by themselves."""

from __future__ import annotations

import math
import sqlite3
from typing import Any, Final, Literal

import msgspec

from deploy.emulators.fal import directives, models
from deploy.emulators.fal.assumptions import Assumptions

NEVER: Final = math.inf
INVALID_INPUT: Final = "invalid_input"
"""The error type of a job whose fields are not those of its model."""
JSON_COLUMNS: Final = ("input", "tags", "headers", "input_faults")


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted submit, before it becomes a job."""

    owner: str
    endpoint: str
    app: str
    input: dict[str, Any]
    tags: dict[str, str]
    headers: dict[str, str]
    origin: str
    priority: int
    start_timeout_seconds: float | None
    webhook_url: str | None
    chaos: str = ""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One accepted submit and what became of it; times in epoch seconds."""

    seq: int
    request_id: str
    gateway_request_id: str
    owner: str
    endpoint: str
    app: str
    input: dict[str, Any]
    tags: dict[str, str]
    headers: dict[str, str]
    origin: str
    priority: int
    status: Literal["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]
    error_type: str | None
    answered: bool
    cancel_requested: bool
    submitted_at: float
    start_by: float | None
    started_at: float | None
    ends_at: float | None
    ended_at: float | None
    chaos: str
    wait_until: float | None
    requeues: int
    payloads_deleted: bool
    input_faults: list[dict[str, Any]]
    billable_units: int
    is_rendered: bool

    @property
    def prompt(self) -> str:
        """The prompt, or an empty string where the model takes none."""
        prompt = self.input.get("prompt", "")
        return prompt if isinstance(prompt, str) else ""

    @property
    def directives(self) -> directives.Directives:
        """What the prompt, or chaos in its stead, asks this emulator to do wrong."""
        return directives.parse(self.prompt + self.chaos)

    @property
    def faults(self) -> list[dict[str, Any]]:
        """What is wrong with the input, as a model error's ``detail``: its fields, its files."""
        return models.violations(self.endpoint, self.input) + self.input_faults

    @property
    def stores_io(self) -> bool:
        """False when the submit asked that its input and output are not kept."""
        return self.headers.get("x-fal-store-io") != "0" and not self.is_inline

    @property
    def is_inline(self) -> bool:
        """Whether the result shall hold its media itself (``sync_mode``) instead of their URLs."""
        return self.input.get("sync_mode") is True


def first_wait_until(submission: Submission) -> float | None:
    """When a new job may start: at once, or never where it is to be stuck in the queue."""
    prompt = submission.input.get("prompt", "")
    asked = directives.parse((prompt if isinstance(prompt, str) else "") + submission.chaos)
    return float("inf") if "stuck-in-queue" in asked else None


def falls_back(job: Job) -> bool:
    """Whether a job that has run must run once more."""
    return job.status == "IN_PROGRESS" and "regress" in job.directives and job.requeues == 0


def listens_to_cancels(job: Job, assumptions: Assumptions) -> bool:
    """Whether a cancel ends a job that runs; an ordinary model's finishes all the same."""
    asked = job.directives
    return assumptions.running_cancel == "stops" or "stuck" in asked or "cooperative" in asked


def is_withdrawn(job: Job) -> bool:
    """Whether a cancel has taken a job out of the queue before it ran."""
    return job.error_type == "client_cancelled" and job.started_at is None


def outcome_of(job: Job, assumptions: Assumptions) -> str | None:
    """The error type a job ends with, decided when it ends; None is success."""
    if job.status == "IN_QUEUE":
        return "request_timeout"
    if models.violations(job.endpoint, job.input):
        return INVALID_INPUT
    if job.input_faults:
        return str(job.input_faults[0]["type"])
    if job.cancel_requested and listens_to_cancels(job, assumptions):
        return "client_cancelled"
    return job.directives.failure()


def webhook_due_at(job: Job, now: float) -> float:
    """When the webhook of a job is due that completes now."""
    if "webhook-after-cancel" in job.directives and not job.cancel_requested:
        return NEVER
    return now + job.directives.number("webhook-late", 0)


def job_of(row: sqlite3.Row) -> Job:
    """A row of the table `jobs`."""
    fields = {name: row[name] for name in Job.__struct_fields__}
    fields |= {name: msgspec.json.decode(row[name]) for name in JSON_COLUMNS}
    flags = ("answered", "cancel_requested", "payloads_deleted", "is_rendered")
    fields |= {name: bool(row[name]) for name in flags}
    return Job(**fields)
