//! From nothing to the first byte of the stream: sessions, publications and slot, where to start,
//! START_REPLICATION. Each step takes what the step before it found.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::detour::StreamForm;
use super::findings::{Findings, PublicationNames};
use super::output::Output;
use crate::change::Tracked;
use crate::config::Config;
use crate::destination::gap::log_gap;
use crate::error::{At, Error, Kind, Remedy, Result};
use crate::lsn::Lsn;
use crate::observe::metrics::Metrics;
use crate::pipeline::channel::ReaderEvent;
use crate::pipeline::feedback::Feedback;
use crate::pipeline::late_tables::LateTables;
use crate::resume::{
    self, Gap, GapAnnouncement, GapReason, SavedProgress, SlotPosition, StreamStart, Stretch,
};
use crate::source::catalog::OwnTables;
use crate::source::publication::{self, Published};
use crate::source::{self, Identity, Server, SourceSessions, failover, filters, late, predecessor};
use crate::sqlstate;
use crate::threads::lock;
use crate::wire::{Connection, Transport, identifier, query_message, server_error, unexpected};

/// Connects to the source.
pub(crate) struct Connector {
    /// The settings.
    pub config: Arc<Config>,
    /// The epoch of the stream and the durable position.
    pub feedback: Arc<Feedback>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Which tables are tracked.
    pub tracked: Tracked,
    /// Zemi's own tables.
    pub own: Arc<dyn OwnTables>,
    /// The system identifier that the progress was read for.
    pub system_identifier: String,
    /// What the destination knew when the process started; from the first stream on, where that started.
    pub saved: Option<SavedProgress>,
    /// Where a gap is announced.
    pub gaps: Arc<dyn GapAnnouncement>,
    /// The tables that were published late.
    pub late: Arc<LateTables>,
    /// What was warned about already.
    pub warned: Arc<Mutex<BTreeSet<String>>>,
    /// Sessions for the first connection: those by which the source was identified.
    pub preconnected: Option<SourceSessions>,
}

/// Both sessions with the source that the progress belongs to.
struct Source {
    session: Connection,
    walsender: Connection,
    server: Server,
    identity: Identity,
}

/// A source whose publications and slot are there.
struct Prepared {
    source: Source,
    published: Published,
    /// The slot as it was found.
    before: Option<SlotPosition>,
    /// The slot as it is now.
    slot: SlotPosition,
    /// The epoch and the durable position of before a slot was made, which may have taken long.
    epoch: u64,
    durable: Lsn,
}

/// A source with the place where the stream starts.
struct Chosen {
    source: Source,
    published: Published,
    form: StreamForm,
    start: StreamStart,
}

/// A stream that has started.
pub(super) struct Stream {
    /// The replication connection.
    pub transport: Arc<dyn Transport>,
    /// What was read of it already.
    pub rest: Vec<u8>,
    /// The epoch that it belongs to.
    pub epoch: u64,
}

impl Connector {
    /// Everything up to the first byte of the stream. The decoder has the start when this returns.
    ///
    /// # Errors
    /// Those of the source; a source that is another cluster; a destination that cannot be told of a gap.
    pub(super) fn connect(
        &mut self,
        form: StreamForm,
        findings: &mut Findings,
        output: &Output,
    ) -> Result<Stream> {
        let source = self.open(form)?;
        let prepared = self.ensure_slot(source)?;
        let chosen = self.choose_start(prepared, form, findings)?;
        self.start_replication(chosen, findings, output)
    }

    /// Opens both sessions, and makes sure of what is behind them.
    fn open(&mut self, form: StreamForm) -> Result<Source> {
        let preconnected = self.preconnected.take().filter(SourceSessions::is_fresh);
        let SourceSessions {
            mut session,
            mut walsender,
            ..
        } = match preconnected {
            Some(sessions) => sessions,
            None => SourceSessions::open(&self.config, form.encoding.setting())?,
        };
        let server = source::check(&mut session).at(|| "source".into())?;
        failover::check(&server, &self.config).at(|| "source".into())?;
        let identity = source::identify(&mut walsender)?;
        if identity.system_identifier != self.system_identifier {
            return Err(Error::new(
                Kind::Setting,
                format!(
                    "expected the source with system identifier {}, found {}",
                    self.system_identifier, identity.system_identifier
                ),
            )
            .hint("another cluster answers at this address; start zemi anew if it is meant"));
        }
        Ok(Source {
            session,
            walsender,
            server,
            identity,
        })
    }

    /// Brings the publications in line, then makes the slot where there is none that can be used.
    fn ensure_slot(&mut self, mut source: Source) -> Result<Prepared> {
        // First of all, so that the publications of a slot that is not ours stay as they are.
        let before = source::read_slot(&mut source.session, &self.config)?;
        publication::check_unshared(&mut source.session, &self.config).at(|| "source".into())?;
        if self.saved.is_none() {
            self.look_for_predecessor(&mut source.session, before.is_some())?;
        }
        let earlier = match before {
            Some(_) => Vec::new(),
            None => publication::existing(&mut source.session, &self.config)?,
        };
        let looked = late::look(&mut source.session)?;
        let published = publication::reconcile(
            &mut source.session,
            &source.server,
            &self.config,
            &self.tracked,
            &self.own.in_source().oids,
        )?;
        publication::warn(&published, &mut lock(&self.warned));
        filters::warn(&mut source.session, &self.config, &mut lock(&self.warned));
        let flushed = self.saved.map(|saved| saved.flushed);
        self.late
            .published(&mut source.session, looked, flushed, &published)?;
        let (epoch, durable) = self.feedback.epoch();
        if let Some(saved) = self.saved.as_mut()
            && durable > Lsn::ZERO
            && !saved.gap_pending
        {
            saved.flushed = saved.flushed.max(durable);
        }
        let slot = match before {
            Some(slot) if !slot.lost => slot,
            Some(_) => self.make_slot(&mut source, true)?,
            None => match self.make_slot(&mut source, false) {
                Err(e) if e.remedy() != Remedy::Retry => {
                    // A start that is refused leaves nothing behind.
                    publication::drop_publications_but(
                        &mut source.session,
                        &self.config,
                        &earlier,
                    )?;
                    return Err(e);
                }
                made => made?,
            },
        };
        failover::reconcile(
            &mut source.session,
            &mut source.walsender,
            &self.config,
            &mut lock(&self.warned),
        )?;
        Ok(Prepared {
            source,
            published,
            before,
            slot,
            epoch,
            durable,
        })
    }

    /// At the first start: another tracker may have left what this one could go on from.
    fn look_for_predecessor(&mut self, session: &mut Connection, has_slot: bool) -> Result<()> {
        if has_slot {
            if let Some((found, fix)) = predecessor::left_over(session, &self.config)?
                && lock(&self.warned).insert(found.clone())
            {
                log::warn!("{found}. Hint: {fix}");
            }
            return predecessor::check_publication(session, &self.config);
        }
        if let Some(found) = predecessor::look(session, &self.config)?
            && lock(&self.warned).insert(predecessor::SLOT.into())
        {
            log::warn!("{}. Hint: {}", found.found(), found.fix());
        }
        Ok(())
    }

    /// Makes the slot, or makes it anew where it is `lost`. The gap before it is announced first.
    fn make_slot(&mut self, source: &mut Source, lost: bool) -> Result<SlotPosition> {
        let session = &mut source.session;
        if let Some(saved) = self.saved.as_mut() {
            let end = source.identity.end;
            saved.parted = saved.parted.or((end < saved.flushed).then_some(end));
            self.gaps.announce_gap(saved.parted, saved.timeline)?;
            saved.gap_pending = true;
        }
        if lost {
            source::drop_slot(session, &self.config, Duration::ZERO)?;
        }
        let confirmed = source::create_slot(session, &self.config)?;
        let slot = self.config.slot_name.as_str();
        log::info!(slot, lsn:% = confirmed; "made slot {slot} at {confirmed}");
        Ok(SlotPosition {
            confirmed,
            lost: false,
        })
    }

    /// Decides where the stream starts and whether that begins an epoch; notes a gap.
    fn choose_start(
        &self,
        prepared: Prepared,
        form: StreamForm,
        findings: &mut Findings,
    ) -> Result<Chosen> {
        let Prepared {
            mut source,
            published,
            before,
            slot,
            epoch,
            durable,
        } = prepared;
        let saved_timeline = self.saved.map(|saved| saved.timeline);
        let Source {
            walsender,
            session,
            identity,
            ..
        } = &mut source;
        let position = source::position(walsender, session, identity, self.saved)?;
        let mut point = resume::decide(before, slot, self.saved, position);
        let gap = point.gap.as_mut();
        if let Some(never) = gap.and_then(|gap| gap.never_happened.as_mut()) {
            let before = self.gaps.transactions_before(never.rows.from)?;
            never.transactions = source::undone(session, &before, position.started)?;
        }
        // What the timeline before sent last may never have happened on this one.
        let left_timeline = saved_timeline.is_some_and(|known| known != source.identity.timeline);
        // A gap of the publications alone gives up nothing that is on its way: it comes behind that.
        let begins_epoch = point.gap.is_some() || durable == Lsn::ZERO || left_timeline;
        if findings.publications.are_gone() {
            let end = source::wal_end(&mut source.session)?;
            point = point.behind_publications(end, source.identity.timeline);
        }
        self.metrics.source_wal_end.set(source.identity.end.0);
        if let Some((_, kept)) = source::kept_by_slot(&mut source.session, &self.config)? {
            self.metrics.slot_retained.set(kept);
        }
        if let Some(gap) = point.gap {
            // An attempt before this one may have found it already.
            log_gap(&gap, "source");
            let text = gap.to_string();
            if findings.gap.replace(gap).is_none() {
                self.metrics.gaps.add(1);
                self.metrics.source.note(&text);
            }
        }
        let start = StreamStart {
            epoch: match begins_epoch {
                true => self.feedback.new_epoch(point.position),
                false => epoch,
            },
            position: point.position,
            timeline: source.identity.timeline,
            left: position.left,
            gap: findings.gap.clone(),
            encoding: form.encoding.of_stream(&source.server.encoding),
            limit: None,
        };
        Ok(Chosen {
            source,
            published,
            form,
            start,
        })
    }

    /// Records what a stream loses that names the first publication alone.
    fn record_unpublished(&self, published: &Published, start: &StreamStart) -> Result<()> {
        let Some(to) = start.limit else {
            return Ok(());
        };
        if published.everything || published.names.is_empty() {
            return Ok(());
        }
        let Some(unknown) = Stretch::new(start.position, to, start.timeline) else {
            return Ok(());
        };
        self.gaps
            .record_gap(&Gap::unknown(unknown, GapReason::UpdatesUnpublished))
    }

    /// Starts the stream, and hands its start to the decoder.
    fn start_replication(
        &mut self,
        chosen: Chosen,
        findings: &mut Findings,
        output: &Output,
    ) -> Result<Stream> {
        let Chosen {
            mut source,
            published,
            form,
            mut start,
        } = chosen;
        let slot = &self.config.slot_name;
        let named = findings
            .publications
            .name_from(start.position, || source::wal_end(&mut source.session))?;
        start.limit = named.limit;
        if named.is_new
            && let Err(e) = self.record_unpublished(&published, &start)
        {
            // The next start has to find it again.
            findings.publications = PublicationNames::First;
            return Err(e);
        }
        let names = published.names.iter().take(named.count).map(String::as_str);
        let command = start_command(slot, start.position, names, form);
        begin_copy(&mut source.walsender, &command)?;
        self.metrics.last_flushed_lsn.set(start.position.0);
        output.send(ReaderEvent::Start(start.clone()))?;
        findings.handed_on();
        findings.detour.streams(source.identity.end);
        self.saved = Some(SavedProgress {
            flushed: start.position,
            timeline: start.timeline,
            destination_changed: false,
            gap_pending: false,
            parted: None,
        });
        let names: Vec<&str> = published
            .names
            .iter()
            .take(named.count)
            .map(String::as_str)
            .collect();
        let until = start
            .limit
            .map_or_else(String::new, |limit| format!(" to {limit}"));
        log::info!(
            source:% = self.config.source,
            server_version = source.server.version_text.as_str(),
            slot = slot.as_str(),
            lsn:% = start.position;
            "streaming from {} ({}), slot {slot}, publication {}, from {}{until}",
            self.config.source,
            source.server.version_text,
            names.join(" and "),
            start.position
        );
        let (transport, rest) = source.walsender.into_parts();
        Ok(Stream {
            transport,
            rest,
            epoch: start.epoch,
        })
    }
}

/// `publication_names` is one literal that holds a list of quoted identifiers (PostgreSQL documentation,
/// "Logical Streaming Replication Parameters").
fn start_command<'a>(
    slot: &str,
    position: Lsn,
    publications: impl Iterator<Item = &'a str>,
    form: StreamForm,
) -> String {
    let names: Vec<String> = publications.map(identifier).collect();
    let binary = if form.binary { ", binary 'true'" } else { "" };
    format!(
        "START_REPLICATION SLOT {} LOGICAL {position} (proto_version '1', publication_names '{}', \
         messages 'true'{binary})",
        identifier(slot),
        // The walsender's grammar has no escapes (repl_scanner.l): a backslash is one.
        names.join(",").replace('\'', "''")
    )
}

/// Sends START_REPLICATION and waits for CopyBothResponse.
fn begin_copy(walsender: &mut Connection, command: &str) -> Result<()> {
    walsender.send(&query_message(command)?)?;
    loop {
        match walsender.receive()? {
            (b'W', _) => return Ok(()),
            (b'E', body) => {
                let error = server_error(body).at("START_REPLICATION");
                // The slot was fine a moment ago: what is wrong with it now is looked at again.
                let again = error.is_sqlstate(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE)
                    || error.is_sqlstate(sqlstate::UNDEFINED_OBJECT);
                return Err(if again {
                    error.as_kind(Kind::Transient)
                } else {
                    error
                });
            }
            (b'T' | b'D' | b'C' | b'Z', _) => {}
            (tag, _) => return Err(unexpected(tag)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_slot_and_publications_are_quoted_for_the_walsender() {
        let names = ["zemi", r#"a "b" 'c' \d"#];
        let form = StreamForm::default();
        assert_eq!(
            start_command("my slot", Lsn(0x1_0000_0010), names.into_iter(), form),
            "START_REPLICATION SLOT \"my slot\" LOGICAL 1/10 (proto_version '1', publication_names \
             '\"zemi\",\"a \"\"b\"\" ''c'' \\d\"', messages 'true')"
        );
    }
}
