"""Compares what a reply says of grants, debits, holds and refunds with what the oracle says."""

from __future__ import annotations

from typing import Any

from tests.oracle.ground import Outcome
from tests.oracle.model import World
from tests.oracle.moves import Move
from tests.oracle.periods import EPOCH, instant
from tests.oracle.things import Hold, Lot, Refused
from tests.oracle.wire import Ids

PROMISED = {
    "insufficient_credits": ("available", "required", "shortfall"),
    "refund_exceeds_debit": ("refundable", "requested"),
    "spend_limit_reached": ("limit_id", "limit", "used", "required"),
}
"""Numbers that a refusal must tell; others are compared where they are told."""

NOUNS = {
    "grant": "grant",
    "debit": "debit",
    "generate": "generation",
    "refund": "refund",
    "hold": "hold",
    "capture": "debit",
    "clawback": "grant",
    "void": "grant",
    "write_off": "write_off",
    "adjust": "adjustment",
    "transfer": "transfer",
}


def refusal_differences(
    would: Outcome | Refused, status: int, body: dict[str, Any], ids: Ids
) -> list[str]:
    """Where a refusal is not what the oracle says."""
    if not isinstance(would, Refused):
        return [f"refused {status} {_short(body)}, the oracle accepts: {would.noun}"]
    if body.get("code") != would.code:
        return [f"refused {status} {_short(body)}, the oracle says {would}"]
    origin = body.get("origin")
    if origin and ids.ours.get(origin["grant_id"]) is None:
        ids.bind(would.numbers["origin"] or "", origin["grant_id"])
    told = {name: body.get(name) for name in would.numbers if name in body}
    expected = {
        name: _told(name, value, ids) for name, value in would.numbers.items() if name in told
    }
    missing = [name for name in PROMISED.get(would.code, ()) if name not in body]
    if told != expected or missing:
        return [f"{would.code} tells {told}, the oracle {would.numbers}; missing {missing}"]
    return []


def _told(name: str, value: Any, ids: Ids) -> Any:
    if name == "resets_at":
        return shown(value)
    if name == "origin" and value is not None:
        return {"account_id": value.rpartition("#")[0], "grant_id": ids.theirs.get(value)}
    return value


def _short(body: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in body.items() if k not in ("type", "title", "instance", "status")}


def noun_differences(
    move: Move, noun: dict[str, Any], body: dict[str, Any], ids: Ids, world: World
) -> list[str]:
    """Where an accepted command did something else than the oracle."""
    found: list[str] = []
    told = body.get(NOUNS.get(move.command, ""))
    if told is None:
        return [f"no {NOUNS[move.command]} in the reply"] if move.command in NOUNS else []
    if move.command in ("grant", "clawback", "void"):
        found += _bound(ids, noun["lot"], told["grant_id"])
        found += lot_differences(world.find(noun["lot"]), told, world.now)
    if move.command in ("debit", "capture"):
        found += _bound(ids, noun["debit"], told["debit_id"])
    if move.command == "generate":
        found += _bound(ids, noun["debit"], told["debit_id"])
        found += _bound(ids, f"{noun['debit']}/generation", told["generation_id"])
        found += _same("charged", noun["amount"], told["charged"])
    if move.command == "refund":
        found += _bound(ids, noun["debit"], told["debit_id"])
    if move.command == "adjust":
        kind = "debit" if "debit" in noun else "lot"
        found += _bound(ids, noun[kind], told["adjustment_id"])
    if move.command in ("hold", "capture", "release", "extend"):
        found += _bound(ids, noun["hold"], body["hold"]["hold_id"])
        found += hold_differences(_hold(world, noun["hold"]), body["hold"])
    if "lots" in noun and "lots" in told:
        found += pairs_differences(noun["lots"], told["lots"], ids)
    if "amount" in told and move.command not in ("clawback", "void"):
        found += _same("amount", noun["amount"], told["amount"])
    return found


def pairs_differences(ours: list[tuple[str, int]], told: Any, ids: Ids) -> list[str]:
    """Lots and amounts, in order; a lot that was not known yet becomes known."""
    found = _same("lots", [part for _, part in ours], [pair["amount"] for pair in told])
    for (lot, _), pair in zip(ours, told, strict=False):
        found += _bound(ids, lot, pair["grant_id"])
    return found


def lot_differences(lot: Lot, told: Any, now: int) -> list[str]:
    """A grant as the API shows it. What has expired no longer remains, booked or not."""
    remaining = lot.h if lot.is_over(now) else lot.r
    found = _same("amount", lot.g, told["amount"])
    found += _same("remaining", remaining, told["remaining"])
    found += _same("held", lot.h, told["held"])
    found += _same("spent", lot.s, told["spent"])
    found += _same("priority", lot.terms.priority, told["priority"])
    found += _same("source", lot.terms.source, told["source"])
    found += _same("restrict_to", sorted(lot.terms.restrict_to), sorted(told["restrict_to"]))
    found += _same("expires_at", shown(lot.terms.expires_at), told["expires_at"])
    if "kind" in told:
        found += _same("kind", "grant" if lot.kind == "scheduled" else lot.kind, told["kind"])
        found += _same("voided", lot.is_voided, told["voided"])
    if told.get("clawback"):
        parts = {"target": lot.target, "taken": lot.c, "absorbed": lot.a}
        parts |= {"owed": lot.q, "repaid": lot.y, "forwarded": lot.f}
        found += _same("clawback", parts, {name: told["clawback"][name] for name in parts})
    elif "clawback" in told:
        found += _same("clawback", 0, lot.target)
    return found


def hold_differences(hold: Hold, told: Any) -> list[str]:
    """A hold as the API shows it."""
    found = _same("hold status", hold.status, told["status"])
    found += _same("held amount", hold.amount, told["amount"])
    found += _same("captured", hold.captured, told["captured"])
    found += _same("released", hold.released, told["released"])
    return found + _same("hold's end", shown(hold.expires_at), told["expires_at"])


def shown(at: int | None) -> str | None:
    """An instant as the API shows it."""
    if at is None:
        return None
    text = instant(at).replace(tzinfo=None).isoformat()
    return f"{text}Z" if at else f"{EPOCH.replace(tzinfo=None).isoformat()}Z"


def _hold(world: World, hold: str) -> Hold:
    name = hold.rpartition("/")[0]
    return next(one for one in world.accounts[name].holds if one.id == hold)


def _bound(ids: Ids, ours: str, theirs: str) -> list[str]:
    if ids.bind(ours, theirs):
        return []
    return [f"{theirs} is {ids.ours.get(theirs)}, the oracle says {ours}"]


def _same(what: str, ours: Any, told: Any) -> list[str]:
    return [] if ours == told else [f"{what}: {told}, the oracle says {ours}"]
