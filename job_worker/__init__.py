"""The job worker: carries generations through a provider, one short step at a time.

::

    doorbell (Valkey) ─▶ actors ─┐
                                 ├─▶ carrying: claim ─▶ step ─▶ report ─▶ next claim …
    pulling (HTTP, every 2 s) ───┘                      │
                                       steps/submit, poll, find, fetch
                                                        │
                                  providers/fal (the queue) · media (the asset, stored)

It owns nothing: what it knows comes with a claim, what it learns goes into a report, and the
ledger alone decides what a report means for credits. It can be killed at any instruction.
"""
