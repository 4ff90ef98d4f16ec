"""The ledger: an append-only event store is the only truth about credits."""
