"""Judges webhooks by who signed them."""

from __future__ import annotations

import time
from collections.abc import Callable

from ledger_service.generations.webhook_keys import ProviderKeys
from ledger_service.generations.webhook_signatures import Verdict, judge, read_proof


class WebhookJudge:
    """`keys` is None where no signature is asked for: then every webhook is a hint and no more.

    `user_id` is ours at the provider; when it is empty, webhooks of its other customers pass as
    far as their signature goes.
    """

    def __init__(
        self,
        keys: ProviderKeys | None,
        user_id: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._user_id = user_id.encode()
        self._clock = clock

    async def judge(self, header: Callable[[bytes], bytes | None], body: bytes) -> Verdict:
        """How much of this webhook to believe; `body` is raw, `header` gives the value by name.

        Raises `Unavailable` when that cannot be told now: the provider delivers again.
        """
        if self._keys is None:
            return Verdict.UNSIGNED
        proof = read_proof(header)
        if proof is None or self._user_id not in (b"", proof.user_id):
            return Verdict.FORGED  # no key could make it genuine, so none is asked for
        keys = await self._keys.known()
        verdict = judge(proof, body, keys, self._clock())
        if verdict is not Verdict.FORGED:
            return verdict
        newer = await self._keys.renewed(keys)
        return verdict if newer is keys else judge(proof, body, newer, self._clock())
