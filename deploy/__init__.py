"""Everything that runs the ledger on a machine: launcher, development tasks, emulators."""
