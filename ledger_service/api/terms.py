"""What accounts are given or bound by: recurring grants, alerts, limits; and tenants' policies."""

from datetime import datetime
from typing import NamedTuple

from litestar import Controller

from contracts.api.accounts import Account
from contracts.api.keys import Scope
from contracts.api.policies import Policy, PolicyRequest, PolicySetReply
from contracts.api.terms import (
    LimitsReply,
    LimitsRequest,
    LimitsSetReply,
    SchedulesReply,
    SchedulesRequest,
    SchedulesSetReply,
    ThresholdsReply,
    ThresholdsRequest,
    ThresholdsSetReply,
)
from contracts.problems import ProblemCode
from ledger_service.api.call import Call
from ledger_service.api.endpoint import get, put
from ledger_service.api.http_reply import HttpReply, json_reply
from ledger_service.api.query import ReadQuery
from ledger_service.api.shapes import account_of
from ledger_service.api.terms_shapes import (
    limits_of,
    limits_used,
    policy_of,
    policy_shown,
    running_schedules,
    schedules_of,
    thresholds_of,
    thresholds_shown,
)
from ledger_service.domain.account.state import AccountState
from ledger_service.domain.commands import (
    Command,
    SetLimits,
    SetPolicy,
    SetSchedules,
    SetThresholds,
)
from ledger_service.domain.ids import policy_owner
from ledger_service.domain.policy import DEFAULT_POLICY, PolicyState
from ledger_service.errors import Rejected
from ledger_service.store.head_reader import AccountView
from ledger_service.store.policies import read_policy

NOT_THERE = (ProblemCode.ACCOUNT_NOT_FOUND,)
ON_CHANGE = (ProblemCode.ACCOUNT_NOT_FOUND, ProblemCode.OUTCOME_UNKNOWN)
LIMIT = {"limit_id": "daily", "amount": 100000, "window": "day"}


class TermsController(Controller):
    """`/v1/accounts/{account_id}/schedules`, `/thresholds` and `/limits`."""

    path = "/v1/accounts/{account_id:str}"
    tags = ("Terms",)

    @get(
        "/schedules",
        scope=Scope.ADMIN,
        reply=SchedulesReply,
        summary="Read recurring grants",
        problems=NOT_THERE,
    )
    async def read_schedules(self, call: Call, account_id: str, query: ReadQuery) -> HttpReply:
        """The account's recurring grants, each with the next of its periods."""
        view = await _view(call, account_id, query)
        return json_reply(SchedulesReply(schedules=running_schedules(view.state)))

    @put(
        "/schedules",
        scope=Scope.ADMIN,
        reply=SchedulesSetReply,
        summary="Set recurring grants",
        problems=(*ON_CHANGE, ProblemCode.ACCOUNT_CLOSED, ProblemCode.ACCOUNT_MERGED),
        example={
            "schedules": [
                {
                    "schedule_id": "plan-pro",
                    "amount": 500,
                    "unit": "month",
                    "starts_at": "2030-01-31T09:00:00+01:00",
                    "time_zone": "Europe/Vienna",
                    "rollover_cap": 250,
                }
            ]
        },
    )
    async def set_schedules(self, call: Call, account_id: str, body: SchedulesRequest) -> HttpReply:
        """Replace the account's recurring grants.

        Under one id nothing is granted twice: it goes on with the first period that begins after
        the last one granted, even with another calendar, or after it was gone for a while. A new
        one begins with its first period, and what is due by now is granted at once.
        Setting the same again is harmless, so no idempotency key is needed.
        """
        command = SetSchedules(owner=call.owner(account_id), schedules=schedules_of(body))
        done = await _change(call, command)
        return json_reply(
            SchedulesSetReply(
                position=done.position,
                recorded_at=done.recorded_at,
                account=done.account,
                schedules=running_schedules(done.state),
            )
        )

    @get(
        "/thresholds",
        scope=Scope.ADMIN,
        reply=ThresholdsReply,
        summary="Read alerts",
        problems=NOT_THERE,
    )
    async def read_thresholds(self, call: Call, account_id: str, query: ReadQuery) -> HttpReply:
        """The balances and lead times that are watched."""
        view = await _view(call, account_id, query)
        return json_reply(thresholds_shown(view.state))

    @put(
        "/thresholds",
        scope=Scope.ADMIN,
        reply=ThresholdsSetReply,
        summary="Set alerts",
        problems=ON_CHANGE,
        example={"low_balance": [100, 20], "expiry_notice_seconds": 259200},
    )
    async def set_thresholds(
        self, call: Call, account_id: str, body: ThresholdsRequest
    ) -> HttpReply:
        """Replace what is watched. Alerts are events: `threshold_crossed` when the available
        balance falls below a level or rises to it again, `expiry_coming` once per grant."""
        command = SetThresholds(owner=call.owner(account_id), thresholds=thresholds_of(body))
        done = await _change(call, command)
        return json_reply(
            ThresholdsSetReply(
                position=done.position,
                recorded_at=done.recorded_at,
                account=done.account,
                thresholds=thresholds_shown(done.state),
            )
        )

    @get(
        "/limits",
        scope=Scope.ADMIN,
        reply=LimitsReply,
        summary="Read spend limits",
        problems=NOT_THERE,
    )
    async def read_limits(self, call: Call, account_id: str, query: ReadQuery) -> HttpReply:
        """The limits that hold for the account, with what was spent in their present windows."""
        view = await _view(call, account_id, query)
        limits, own = view.state.terms.limits, bool(view.state.terms.limits)
        if not own:
            found = await read_policy(call.services.pool, call.tenant)
            limits = (found.policy if found else DEFAULT_POLICY).limits
        shown = limits_used(view.state, limits, view.now)
        return json_reply(LimitsReply(limits=shown, from_policy=bool(limits) and not own))

    @put(
        "/limits",
        scope=Scope.ADMIN,
        reply=LimitsSetReply,
        summary="Set spend limits",
        problems=ON_CHANGE,
        example={"limits": [LIMIT, {"limit_id": "bot", "amount": 50, "per_key": True}]},
    )
    async def set_limits(self, call: Call, account_id: str, body: LimitsRequest) -> HttpReply:
        """Replace the account's spend limits; they stand in for those of the tenant's policy.

        Debits, holds and generations count when they are made; what is refunded or released is
        given back. A limit that keeps its id keeps what was spent under it.
        """
        command = SetLimits(owner=call.owner(account_id), limits=limits_of(body.limits))
        done = await _change(call, command)
        shown = limits_used(done.state, done.state.terms.limits, done.recorded_at)
        return json_reply(
            LimitsSetReply(
                position=done.position,
                recorded_at=done.recorded_at,
                account=done.account,
                limits=shown,
            )
        )


class PoliciesController(Controller):
    """`/v1/policies`."""

    path = "/v1/policies"
    tags = ("Terms",)

    @get(scope=Scope.ADMIN, reply=Policy, summary="Read the policy")
    async def read_policy(self, call: Call, query: ReadQuery) -> HttpReply:
        """The tenant's choices where the law of credits leaves one."""
        await call.at_least(query.min_position)
        return json_reply(policy_shown(await read_policy(call.services.pool, call.tenant)))

    @put(
        scope=Scope.ADMIN,
        reply=PolicySetReply,
        summary="Set the policy",
        problems=(ProblemCode.OUTCOME_UNKNOWN,),
        example={
            "grace_seconds": 604800,
            "expires_after_seconds": {"promo": 2592000},
            "hold_ttl_seconds": 900,
            "limits": [LIMIT],
        },
    )
    async def set_policy(self, call: Call, body: PolicyRequest) -> HttpReply:
        """Replace the tenant's policy; what is left out has its default again.

        It holds for what is decided from now on: what earlier policies decided stands.
        """
        command = SetPolicy(owner=policy_owner(call.tenant), policy=policy_of(body))
        done = await call.submit(command)
        assert isinstance(done.result, PolicyState)
        assert done.recorded_at is not None
        return json_reply(
            PolicySetReply(
                position=done.position,
                recorded_at=done.recorded_at,
                policy=policy_shown(done.result),
            )
        )


class _Changed(NamedTuple):
    """An account after a change of its terms."""

    position: int
    recorded_at: datetime
    account: Account
    state: AccountState


async def _change(call: Call, command: Command) -> _Changed:
    done = await call.submit(command)
    assert isinstance(done.result, AccountState)
    assert done.position is not None
    assert done.recorded_at is not None
    account = account_of(done.result, done.position, done.recorded_at)
    return _Changed(done.position, done.recorded_at, account, done.result)


async def _view(call: Call, account_id: str, query: ReadQuery) -> AccountView:
    await call.at_least(query.min_position)
    view = await call.services.reads.account(call.owner(account_id))
    if view is None:
        raise Rejected(ProblemCode.ACCOUNT_NOT_FOUND)
    return view
