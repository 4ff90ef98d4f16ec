"""An emulator of fal.ai's queue, close enough that a client cannot tell the difference.

Start it with ``python -m deploy.emulators.fal --port 0 --state-dir DIR``. A request travels::

    protocol.py      the queue's routes       admission.py   what becomes of a submit
    direct.py        models without a queue   submits.py     every submit, accepted or not
    files.py         generated media          jobs.py        queue and state machine, in SQLite
    storage.py       files clients bring ──▶  outcomes.py    what status and result look like
    cdn.py           … with tokens, in parts  webhooks.py    deliveries with retries
    platform_api.py  /v1: past requests       sealing.py     what they say, and their signatures
    catalogue.py     /v1: models              accounts.py    prepaid balances
    costs.py         /v1: money
    admin.py         what really happened

`app.py` puts these together, `models.py` knows inputs and `prices.py` costs, `errors.py` every
way to fail, `records.py` what a job is, `inputs.py` (fetched by `reading.py`) whether its files can
be used, `identities.py` whose a key is, `media.py` makes each file unique (`rendering.py`
draws them, if that is asked for), `wire.py` reaches what
the web framework hides, `browsers.py` is for those who ask from a page.

It misbehaves when it is told to: `directives.py` and `modes.py` (asked for in the prompt),
`chaos.py` (drawn from a seed), `outage.py` (nobody is answered). `clock.py` can stand still.
Where nobody knows what fal does, `assumptions.py` has a switch.
``docs/how-to/fal-emulator.md`` says how to use all this for any app.

It offers no idempotency, as fal offers none: two submits are two jobs, both billed, and
``GET /admin/jobs`` shows both. That is what makes a test against double submits honest.
"""
