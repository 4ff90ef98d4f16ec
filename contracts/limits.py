"""Bounds that cross the border, with their units. Both services and their clients rely on them."""

from __future__ import annotations

from typing import Final

AMOUNT_MAX_CREDITS: Final = 10**12
"""The largest amount of one movement; the smallest is 1."""
BALANCE_MAX_CREDITS: Final = 9 * 10**15
"""A balance stays within plus or minus this, so that it survives a float64 reader."""
CREDIT_LIMIT_MAX_CREDITS: Final = 10**12
UNIT_COST_MAX_MICROS: Final = 10**12
PRIORITY_MAX: Final = 100
PRIORITY_DEFAULT: Final = 50

BODY_MAX_BYTES: Final = 64 * 1024
WEBHOOK_BODY_MAX_BYTES: Final = 1024 * 1024
JSON_DEPTH_MAX: Final = 32
METADATA_KEYS_MAX: Final = 16
METADATA_MAX_BYTES: Final = 4 * 1024
ID_MAX_CHARACTERS: Final = 128
REFERENCE_MAX_CHARACTERS: Final = 200
REASON_MAX_CHARACTERS: Final = 200
TAGS_MAX: Final = 16
IDEMPOTENCY_KEY_MAX_CHARACTERS: Final = 255
PAGE_LIMIT_MAX: Final = 200
PAGE_LIMIT_DEFAULT: Final = 50
EVENTS_LIMIT_MAX: Final = 1000
EVENTS_WAIT_MAX_SECONDS: Final = 30

WRITE_WAIT_SECONDS: Final = 2.5
"""How long a handler waits for its command before it answers 503."""
READ_WAIT_SECONDS: Final = 2.0
"""How long a read waits for `min_position` and for the database."""

LEASE_SECONDS: Final = 8.0
"""How long a claim lasts unless it is renewed."""
POST_WINDOW_SECONDS: Final = 3.0
"""How long after a submit claim the worker may still POST to the provider."""
CLAIMS_PER_REQUEST_MAX: Final = 50
REPORTS_PER_REQUEST_MAX: Final = 25
REPORTS_BODY_MAX_BYTES: Final = REPORTS_PER_REQUEST_MAX * BODY_MAX_BYTES
ATTEMPTS_MAX: Final = 50
"""Attempts of one generation; a further one follows only when the last was certainly not sent.
Those that a pause of the provider held back are not counted: the deadline bounds them."""
UNREPORTED_CLAIMS_MAX: Final = 10
"""Claims in a row that no worker came back from: past it the generation is poison and fails."""
DUE_MIN_SECONDS: Final = 2.0
DUE_MAX_SECONDS: Final = 60.0
"""The next look at a running generation comes after a quarter of its age, within these bounds."""
ASSET_MAX_BYTES: Final = 2 * 1024**3
UPLOAD_MAX_BYTES: Final = 64 * 1024**2
"""The largest file that callers give as an input."""
UPLOADS_KEPT_MAX_BYTES: Final = 10 * 1024**3
"""All that a tenant's uploads take at a time."""
UPLOAD_SECONDS: Final = 86_400
"""How long an upload can be fetched, unless the operator says otherwise; then it is removed."""
STORE_WINDOW_SECONDS: Final = 300.0
"""How long after a fetch was claimed its worker may still begin to store a file."""
LEFTOVERS_AFTER_SECONDS: Final = 900.0
"""How long after a generation's end files that are no result of it are looked for. The end comes
after the last claim, so nothing more is begun by then, and the largest upload has ended."""
HOLD_TTL_DEFAULT_SECONDS: Final = 900
HOLD_TTL_MAX_SECONDS: Final = 7 * 86_400
"""How long a hold may last, counted from when it is placed or extended."""
ASSETS_MAX: Final = 16
"""Assets of one generation."""
LOG_LINES_MAX: Final = 20
LOG_LINE_MAX_CHARACTERS: Final = 300
"""Of a running generation's log the newest lines are passed on, each so much of it."""
GENERATIONS_IN_FLIGHT_MAX: Final = 10_000
"""The largest bound that a tenant may set for one account."""
TENANT_GENERATIONS_IN_FLIGHT_MAX: Final = 10_000
"""Likewise, for all its accounts together: so many are counted with each of its orders."""
GENERATIONS_PER_DAY_MAX: Final = 10_000
"""The largest bound that a tenant may set for what one account begins in a day."""
TENANT_GENERATIONS_PER_DAY_MAX: Final = 10_000_000
"""Likewise, for all its accounts together."""
LOW_PRIORITY_WAIT_MAX_SECONDS: Final = 600
"""An order of low priority that is older than this counts as any other."""
FLAGS_MAX: Final = 20
"""Reports about one generation."""
FLAG_TEXT_MAX_CHARACTERS: Final = 1_000
MEDIA_RETENTION_MAX_SECONDS: Final = 10 * 365 * 86_400
SCHEDULES_MAX: Final = 20
THRESHOLDS_MAX: Final = 10
SPEND_LIMITS_MAX: Final = 20
SCHEDULE_PERIODS_MAX: Final = 1_000
"""Units of time in one period of a recurring grant, and periods until one of its grants expires."""
EXPIRY_NOTICE_MAX_SECONDS: Final = 366 * 86_400
GRACE_DEFAULT_SECONDS: Final = 7 * 86_400
GRACE_MAX_SECONDS: Final = 366 * 86_400
EXPIRES_AFTER_MAX_SECONDS: Final = 36_525 * 86_400
BATCH_COMMANDS_MAX: Final = 1_000
BATCH_BODY_MAX_BYTES: Final = 1024 * 1024
UNIT_PRICE_MAX_MILLIS: Final = 10**12
"""Thousandths of a credit for one second, image or generation."""
PRICE_FACTOR_MAX_PERMILLE: Final = 10**6
QUOTE_SECONDS: Final = 600
"""How long a quoted price holds, unless the operator says otherwise."""
QUOTE_ID_MAX_CHARACTERS: Final = 2_048
MODEL_NOTE_MAX_CHARACTERS: Final = 200
SUBJECT_MAX_CHARACTERS: Final = 300
"""The caller's own words in a theme's prompt."""
