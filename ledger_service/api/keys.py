"""API keys of the caller's own tenant."""

from litestar import Controller

from contracts.api.keys import ApiKey, CreatedKey, CreateKeyRequest, KeysReply, Scope
from contracts.problems import ProblemCode
from ledger_service.api.call import Call
from ledger_service.api.endpoint import delete, get, post
from ledger_service.api.http_reply import HttpReply, json_reply
from ledger_service.errors import OutcomeUnknown, Rejected, Unavailable
from ledger_service.store.keys import (
    NewKey,
    StoredKey,
    add_key,
    list_keys,
    make_key_text,
    revoke_key,
)


class KeysController(Controller):
    """`/v1/keys`."""

    path = "/v1/keys"
    tags = ("Keys",)

    @get(scope=Scope.ADMIN, reply=KeysReply, summary="List API keys")
    async def list_keys(self, call: Call) -> HttpReply:
        """The tenant's keys, newest first, revoked ones included. Secrets are never shown."""
        tenant = call.tenant
        stored = await call.services.pool.read(lambda connection: list_keys(connection, tenant))
        return json_reply(KeysReply(items=tuple(_shown(key) for key in stored)))

    @post(
        scope=Scope.ADMIN,
        reply=CreatedKey,
        status=201,
        summary="Create an API key",
        problems=(ProblemCode.OUTCOME_UNKNOWN,),
        example={"name": "checkout", "scopes": ["spend", "read"]},
    )
    async def create_key(self, call: Call, body: CreateKeyRequest) -> HttpReply:
        """Make a key for the tenant. This answer alone shows the secret.

        Nobody can hand out a scope that their own key lacks. To rotate a key: create another,
        put it to use, revoke the old one.
        """
        for scope in body.scopes:
            if scope is Scope.WORK or scope not in call.identity.scopes:
                raise Rejected(ProblemCode.FORBIDDEN, needed_scope=scope)
        new = NewKey(
            tenant=call.tenant,
            name=body.name,
            scopes=tuple(dict.fromkeys(body.scopes)),
            key=make_key_text(),
        )
        try:
            stored = await call.services.pool.write(lambda connection: add_key(connection, new))
        except Unavailable:
            raise OutcomeUnknown from None
        return json_reply(CreatedKey(key=_shown(stored), secret=new.key), 201)

    @delete(
        "/{key_id:str}",
        scope=Scope.ADMIN,
        reply=ApiKey,
        summary="Revoke an API key",
        problems=(ProblemCode.NOT_FOUND, ProblemCode.OUTCOME_UNKNOWN),
    )
    async def revoke_key(self, call: Call, key_id: str) -> HttpReply:
        """Put a key out of force, for ever: within a minute everywhere. Repeating is harmless."""
        tenant = call.tenant
        try:
            stored = await call.services.pool.write(
                lambda connection: revoke_key(connection, key_id, tenant)
            )
        except Unavailable:
            raise OutcomeUnknown from None
        if stored is None:
            raise Rejected(ProblemCode.NOT_FOUND)
        call.services.authenticator.forget(key_id)
        return json_reply(_shown(stored))


def _shown(key: StoredKey) -> ApiKey:
    return ApiKey(
        key_id=key.key_id,
        name=key.name,
        scopes=key.scopes,
        created_at=key.created_at,
        revoked_at=key.revoked_at,
    )
