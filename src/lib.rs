//! Zemi follows the write-ahead log of a PostgreSQL server by logical replication and writes every
//! INSERT, UPDATE, DELETE and TRUNCATE as one row of a `changes` table, exactly once.
//!
//! # The pipeline
//!
//! ```text
//! source PostgreSQL                                                  destination PostgreSQL
//!    │ CopyBoth: XLogData, keepalive                                       ▲ BEGIN, progress, COPY, COMMIT
//!    ▼                                                                     │ in one flight
//!  reader ── chunks of whole frames ──▶ decoder ── encoded batches ──▶ writer
//!    ▲         (4 buffers, recycled)               (handed over by rendezvous)
//!    └──────────────── standby status updates ◀── durable position, after COMMIT
//! ```
//!
//! | thread | module | owns |
//! |---|---|---|
//! | http | `observe::http` | the web pages, where settings ask for them |
//! | main | [`pipeline::supervisor`] | the lives of the others, the exit code |
//! | signals | `pipeline::signals` | SIGTERM and SIGINT |
//! | publications | [`pipeline::publication_refresh`] | all tables, each minute, and new relations |
//! | reader | [`pipeline::reader`] | the replication connection, slot, publications |
//! | decoder | [`pipeline::decoder`] | transactions, relations, the catalog session, the batch being filled |
//! | writer | [`pipeline::writer`] | the destination's session, tables, progress |
//!
//! # Where to find what
//!
//! | question | module |
//! |---|---|
//! | what flows between the threads | [`pipeline::channel`] |
//! | when the source is tried again | [`pipeline::reader`] (the loop), `reader::patience` (decides) |
//! | before the stream; questions to the catalog | `pipeline::supervisor`; `source::catalog` |
//! | when the destination is tried again | [`pipeline::writer`] (the loop), `writer::state` (decides) |
//! | how long until then, and which errors stop | `backoff`, [`error`] |
//! | where the stream goes on, and what is a gap | `resume` |
//! | published tables, and how | `source::publication`: `catalog`, `plan` (decides), `apply` (does) |
//! | what a table lost that was published late | `source::late` (judges), `pipeline::late_tables` (follows) |
//! | which tables `TABLES` names | `change::Tracked` |
//! | by which names a table is known | `change::lineage`; `source::relation_facts`, `source::own_tables` |
//! | what a TRUNCATE of partitions becomes | `change::truncate` (decides), `change::truncated_parts` |
//! | settings that match no table or column | `source::filters` |
//! | which published rows are dropped all the same | `change::relation` |
//! | which types a column has | `source::types`, `source::catalog` |
//! | which kind of JSON a type becomes | `change::json::types` (`interval`, `uuid` and others are text) |
//! | text that the source cannot convert to UTF-8 | `change::encoding`, `characters`; `source::stored` |
//! | how a value becomes JSON | `change::json::writer`; by kind: `number`, `datetime`, `array` and others |
//! | how a transaction becomes rows | [`change::assembler`], [`change::row`] |
//! | what the destination's transaction holds | `destination::statements`, `destination::write` |
//! | rows that COPY refuses | `destination::fallback`, `destination::forms` |
//! | bytes of the servers | [`wire`], [`pgoutput`], `source::message` |
//!
//! # What is always true
//!
//! 1. **Exactly once.** Rows and progress are committed together; the guard in that transaction moves the
//!    progress only from where this process left it (`destination::progress`). Nothing is
//!    confirmed to the source before the destination's COMMIT was answered
//!    ([`pipeline::feedback::Feedback::confirm`]). A transaction that comes again is recognised by its
//!    position ([`change::Assembler::restart`]).
//! 2. **Nothing is skipped silently.** A message that cannot be decoded ends the stream; a value that
//!    jsonb refuses is written in another form and counted; a stretch of WAL that is lost leaves a row of
//!    operation `MESSAGE` and an error in the log (`resume`).
//! 3. **Memory is bounded.** Every channel of rows is; a batch is at most [`change::batch::BYTES_LIMIT`] and
//!    one row; a larger transaction streams into an open destination transaction.
//! 4. **The values are PostgreSQL's own**: what `to_jsonb` gives ([`change::json`]).
//! 5. **The source is left alone**: one slot, two publications, a session for questions to the catalog.
//! 6. **Idle is idle.** A transaction without rows is confirmed and not written; so is a keepalive.
//! 7. **No secret** reaches a log, an error or a `Debug` output (`config::Secret`, [`error`]).
//!
//! # Epochs
//!
//! Everything on its way belongs to an *epoch* of the stream. When only the source's connection was lost,
//! the epoch goes on: whole transactions stay in the channels, and those that come again are passed over.
//! When rows were given up on the way (a fragment of a large transaction whose destination transaction
//! failed), the writer begins another epoch at its durable position, and whatever carries the old number is
//! discarded.
//!
//! # Who may import whom
//!
//! From the bottom: the leaves (`error`, `sqlstate`, `lsn`, `backoff`, `threads`, `calendar`, `clock`, `hex`,
//! `json_text`), `config` and `pgoutput`, `change` and `resume`, `wire`, `source`, `destination`, and on top
//! `commands` and `pipeline`. `pgoutput`, `change` and `resume` are pure: no socket, thread, clock or log, so
//! that tests and fuzz targets call them directly.
//! `wire` is the only module that talks to PostgreSQL, `observe::http` the only one that is talked to.
//! `observe` imports no module of the pipeline. `tests/tidy.rs` holds this.

pub(crate) mod backoff;
pub(crate) mod calendar;
pub mod change;
pub(crate) mod clock;
pub mod commands;
pub mod config;
pub(crate) mod destination;
pub mod error;
pub mod fuzzing;
pub(crate) mod hex;
pub(crate) mod json_text;
pub mod lsn;
pub mod observe;
pub mod pgoutput;
pub mod pipeline;
pub(crate) mod resume;
pub mod source;
pub(crate) mod sqlstate;
pub(crate) mod threads;
pub mod wire;
