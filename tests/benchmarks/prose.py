"""What people say in `docs/performance.md`; everything with a figure in it is generated."""

INTRODUCTION = (
    "A spend is a decision, an event and a durable commit, and its answer says what the balance "
    "is afterwards. This page says how many of them one ledger process makes, beside what the "
    "same machine does when somebody else decides everything or nothing is decided at all. "
    "`make bench` makes all of it anew; [benchmarks](benchmarks.md) has every figure, the "
    "settings and the history."
)

HOW = """\
**Spends that arrive together share a transaction.** While the database writes one batch, the next
one gathers, and is decided on what the first one leaves before that is even durable. Nobody is
answered before their own commit, and a batch whose predecessor fails fails with it.

**A balance is remembered, and verified where it is written.** The process keeps the heads of
accounts by version. A spend is decided from memory, and one call of `append_v2` locks the head,
checks its version, the policy's, the key and the clock, and writes events and heads: one round
trip. If another process was first, nothing is written, and the batch is decided again under locks.

**The database is asked for little.** One event row, one head row, three index entries. Whole
columns travel in binary form; plans are made once per connection; a head's row is updated in
place. There is no table of balances to keep up beside the events, and projections follow behind.

**One thread, no waiting.** The event loop parses, decides and encodes, and the database works
meanwhile on its own processor; nothing is handed from thread to thread. A spend that meets nothing
unusual takes a short way through the law, which a property test holds against the long one.

**What is not done cannot be slow.** Declared operations are found by one look-up past the
framework's routing; keys that were checked seconds ago are not checked again; reads that arrive
together are one query; and when too many ask, they are told so before their request is read."""

GAPS = """\
- Networks: everything runs over loopback. A database across a network adds its round trip once
  per batch, and nothing per spend.
- More than two processors. One ledger process uses one; further processes share the database's
  order of the log, and accounts that two of them serve at once are decided under locks.
- Other disks. Every figure has `fsync` on, on the disk of the machine named above.
- TLS and proxies in front of the ledger.
- Days of load: the longest run here is the one that the table calls long."""
