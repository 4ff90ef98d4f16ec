"""Credits of another system brought into the ledger, and both watched side by side.

It speaks HTTP alone, under an API key: what an import may do is what its key may do.

    rows.py      one row of a file: its shape, its command      files.py      CSV and NDJSON
    staging.py   the file in SQLite: sorted, checked, resumable  sending.py    commands in batches
    comparing.py the file's balances against the ledger's        remote.py     the calls
    running.py   an import from its file to its report           progress.py   one line for a person
    sources.py   balances of an old credits table                shadowing.py  the watch over both
"""
