"""How a move of the oracle is asked over HTTP: alone under its own path, or within a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.oracle.moves import MODEL, SECOND, Move
from tests.oracle.periods import instant
from tests.oracle.things import Limit, Policy, Schedule, Terms

FAIL = "a worker claims it, and reports that it failed"


class Unknown(Exception):
    """A move about something whose id the service has not told yet."""


class Ids:
    """Which id of the service is which of the oracle's: one to one, or somebody is wrong."""

    def __init__(self) -> None:
        self.ours: dict[str, str] = {}
        self.theirs: dict[str, str] = {}

    def bind(self, ours: str, theirs: str) -> bool:
        """Whether these two may be the same thing; from now on they are."""
        return (
            self.theirs.setdefault(ours, theirs) == theirs
            and self.ours.setdefault(theirs, ours) == ours
        )

    def __call__(self, ours: str) -> str:
        """The service's id. Raises Unknown."""
        if ours not in self.theirs:
            raise Unknown(ours)
        return self.theirs[ours]


@dataclass(frozen=True)
class Request:
    """One write. `op` names it within batches; without one it is asked alone."""

    path: str
    body: dict[str, Any]
    key: str
    op: str = ""
    ids: dict[str, str] = field(default_factory=dict)
    method: str = "POST"

    @property
    def in_batch(self) -> dict[str, Any]:
        """The same as one command of a batch."""
        return {"op": self.op, "idempotency_key": self.key, **self.ids, **self.body}


def request_of(move: Move, ids: Ids, key: str) -> Request:
    """Ask for a move. Raises Unknown."""
    return BUILDERS[move.command](dict(move.fields), ids, key)


def text(at: int) -> str:
    """An instant as the API takes it."""
    return instant(at).isoformat()


def _request(
    op: str, account: str, tail: str, body: dict[str, Any], key: str, **ids: str
) -> Request:
    path = f"/v1/accounts/{account}/{tail}"
    return Request(path, body, key, op, {"account_id": account, **ids})


def _put(account: str, tail: str, body: dict[str, Any], key: str) -> Request:
    return Request(f"/v1/accounts/{account}/{tail}", body, key, method="PUT")


def _open(fields: dict[str, Any], ids: Ids, key: str) -> Request:
    body = {"account_id": fields["account"], "credit_limit": fields["limit"]}
    return Request("/v1/accounts", body, key)


def _change_limit(fields: dict[str, Any], ids: Ids, key: str) -> Request:
    body = {"credit_limit": fields["limit"]}
    return Request(f"/v1/accounts/{fields['account']}", body, key, method="PATCH")


def _grant(fields: dict[str, Any], ids: Ids, key: str) -> Request:
    terms: Terms = fields["terms"]
    body: dict[str, Any] = {"amount": fields["amount"], "source": terms.source}
    body |= {"priority": terms.priority, "restrict_to": sorted(terms.restrict_to)}
    if not fields.get("is_open"):
        body["expires_at"] = None if terms.expires_at is None else text(terms.expires_at)
    if terms.effective_at:
        body["effective_at"] = text(terms.effective_at)
    if terms.unit_cost is not None:
        body["unit_cost_micros"] = terms.unit_cost
    return _request("grant", fields["account"], "grants", body, key)


def _debit(fields: dict[str, Any], ids: Ids, key: str) -> Request:
    body = {"amount": fields["amount"], "reason": "oracle", "tags": sorted(fields["tags"])}
    return _request("debit", fields["account"], "debits", body, key)


def _hold(fields: dict[str, Any], ids: Ids, key: str) -> Request:
    body = {"amount": fields["amount"], "reason": "oracle", "tags": sorted(fields["tags"])}
    if "ttl" in fields:
        body["ttl_seconds"] = fields["ttl"] // SECOND
    return _request("hold", fields["account"], "holds", body, key)


def _capture(fields: dict[str, Any], ids: Ids, key: str) -> Request:
    body = {"amount": fields["amount"]} if "amount" in fields else {}
    return _on_hold("capture", fields, ids, key, body)


def _release(fields: dict[str, Any], ids: Ids, key: str) -> Request:
    return _on_hold("release", fields, ids, key, {})


def _extend(fields: dict[str, Any], ids: Ids, key: str) -> Request:
    return _on_hold("extend", fields, ids, key, {"ttl_seconds": fields["ttl"] // SECOND})


def _on_hold(op: str, fields: dict[str, Any], ids: Ids, key: str, body: dict[str, Any]) -> Request:
    hold = ids(fields["hold"])
    return _request(op, fields["account"], f"holds/{hold}/{op}", body, key, hold_id=hold)


def _refund(fields: dict[str, Any], ids: Ids, key: str) -> Request:
    debit = ids(fields["debit"])
    body: dict[str, Any] = {"reason": "oracle"}
    if "amount" in fields:
        body["amount"] = fields["amount"]
    tail = f"debits/{debit}/refunds"
    return _request("refund", fields["account"], tail, body, key, debit_id=debit)


def _clawback(fields: dict[str, Any], ids: Ids, key: str) -> Request:
    lot = ids(fields["lot"])
    body = {"reference": fields["reference"], "as_of": text(fields["as_of"]), "reason": "oracle"}
    body |= {name: fields[name] for name in ("amount", "fraction_millis") if name in fields}
    tail = f"grants/{lot}/clawback"
    return _request("clawback", fields["account"], tail, body, key, grant_id=lot)


def _void(fields: dict[str, Any], ids: Ids, key: str) -> Request:
    lot = ids(fields["lot"])
    body = {"reason": "oracle"}
    return _request("void", fields["account"], f"grants/{lot}/void", body, key, grant_id=lot)


def _generate(fields: dict[str, Any], ids: Ids, key: str) -> Request:
    body = {"account_id": fields["account"], "model": MODEL, "input": {"prompt": "a boat"}}
    return Request("/v1/generations", body, key)


def _fail(fields: dict[str, Any], ids: Ids, key: str) -> Request:
    generation = ids(f"{fields['debit']}/generation")
    return Request(f"/v1/generations/{generation}", {}, "", method=FAIL)


def _write_off(fields: dict[str, Any], ids: Ids, key: str) -> Request:
    body: dict[str, Any] = {"reason": "oracle"}
    if "amount" in fields:
        body["amount"] = fields["amount"]
    return _request("write_off", fields["account"], "write-offs", body, key)


def _adjust(fields: dict[str, Any], ids: Ids, key: str) -> Request:
    body = {"amount": fields["amount"], "direction": fields["direction"], "reason": "oracle"}
    return _request("adjust", fields["account"], "adjustments", body, key)


def _transfer(fields: dict[str, Any], ids: Ids, key: str) -> Request:
    body = {"from_account_id": fields["source"], "to_account_id": fields["target"]}
    body |= {"amount": fields["amount"], "reason": "oracle"}
    if fields.get("merge"):
        body["merge"] = True
    return Request("/v1/transfers", body, key, "transfer")


def _status(fields: dict[str, Any], ids: Ids, key: str) -> Request:
    op = {"active": "unfreeze", "frozen": "freeze", "closed": "close"}[fields["status"]]
    return _request(op, fields["account"], op, {"reason": "oracle"}, key)


def _limits(fields: dict[str, Any], ids: Ids, key: str) -> Request:
    body = {"limits": [limit_body(limit) for limit in fields["limits"]]}
    return _put(fields["account"], "limits", body, key)


def _schedules(fields: dict[str, Any], ids: Ids, key: str) -> Request:
    body = {"schedules": [schedule_body(schedule) for schedule in fields["schedules"]]}
    return _put(fields["account"], "schedules", body, key)


def _thresholds(fields: dict[str, Any], ids: Ids, key: str) -> Request:
    body = {"low_balance": list(fields["levels"])}
    return _put(fields["account"], "thresholds", body, key)


def limit_body(limit: Limit) -> dict[str, Any]:
    """A spend limit as the API takes it."""
    body: dict[str, Any] = {"limit_id": limit.id, "amount": limit.amount, "window": limit.window}
    return {**body, "per_key": limit.per_spender}


def schedule_body(schedule: Schedule) -> dict[str, Any]:
    """A recurring grant as the API takes it."""
    return {
        "schedule_id": schedule.id,
        "amount": schedule.amount,
        "source": schedule.source,
        "unit": schedule.unit,
        "every": schedule.every,
        "ends_at": None if schedule.ends_at is None else text(schedule.ends_at),
        "expires_after_periods": schedule.lasts,
        "starts_at": text(schedule.starts_at),
        "time_zone": schedule.time_zone,
        "rollover_cap": schedule.rollover_cap,
    }


def policy_body(policy: Policy) -> dict[str, Any]:
    """A tenant's policy as the API takes it."""
    return {
        "grace_seconds": policy.grace // SECOND,
        "repay_debt": policy.repay_debt,
        "promotional_first": policy.promotional_first,
        "hold_ttl_seconds": policy.hold_ttl // SECOND,
        "expires_after_seconds": {
            source: after // SECOND for source, after in policy.expires_after.items()
        },
        "limits": [limit_body(limit) for limit in policy.limits],
    }


BUILDERS: dict[str, Callable[[dict[str, Any], Ids, str], Request]] = {
    "open": _open,
    "change_limit": _change_limit,
    "grant": _grant,
    "debit": _debit,
    "hold": _hold,
    "capture": _capture,
    "release": _release,
    "extend": _extend,
    "refund": _refund,
    "generate": _generate,
    "fail": _fail,
    "clawback": _clawback,
    "void": _void,
    "write_off": _write_off,
    "adjust": _adjust,
    "transfer": _transfer,
    "set_status": _status,
    "set_limits": _limits,
    "set_schedules": _schedules,
    "set_thresholds": _thresholds,
}
