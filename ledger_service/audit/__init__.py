"""Proof by replay: the log folded from nothing, against what the ledger says now."""
