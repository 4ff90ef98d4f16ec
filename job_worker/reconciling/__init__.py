"""Whether ledger, provider and storage tell the same story of a stretch of time. Reads only.

::

    sides.py   reads the three ─▶ books.py      what the ledger's log says of attempts and assets
                                  comparing.py  one against the others ─▶ report.py
    command.py   `python -m job_worker reconcile`

The order of reading keeps what is under way from looking like drift: the log first, so that what
it speaks of must be found; then the other two; then what the log has got since, so that what was
found must be known.
"""
