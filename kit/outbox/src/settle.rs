//! The first half of a round: what the chain did with nonces that were signed before.

use std::collections::{BTreeMap, HashMap};

use windlass_chain::BlockRef;
use windlass_store::Fence;
use windlass_store::clock::UnixMillis;

use crate::error::OutboxError;
use crate::machine::{self, Inclusion, Kind, Settlement, Slot, Standing};
use crate::model::{Hold, IntentId, Reason, State, Transition, TurnReport};
use crate::observe::{Canonical, Look, Observation, Progress};
use crate::outbox::Inner;
use crate::tables::{Changes, DueInclusion, HoldChange, NewInclusion, RecordedIntent};
use crate::turn::Memory;

/// Most nonces that become final in one round; the rest follows in the next.
const FINAL_LIMIT: u64 = 512;

impl Inner {
    /// Takes back what was reorganised away, finishes what is deep enough, and finds what was included. Returns the open nonces
    /// when nothing of that changed them.
    pub(crate) async fn settle(
        &self,
        memory: &mut Memory,
        fence: &Fence,
        now: UnixMillis,
        look: &mut Look,
        report: &mut TurnReport,
    ) -> Result<Option<Vec<Slot>>, OutboxError> {
        let Look { last, seen, progress, canonical } = look;
        if memory.doubt || matches!(progress, Progress::First | Progress::Doubtful) {
            // The doubt outlives a round that could not tell of every block: the next head may continue this one, and the
            // reorganisation would never be noticed again.
            memory.doubt = true;
            let (changes, certain) = self.put_back(now, seen, canonical).await?;
            report.put_back = changes.put_back.len();
            self.commit(fence, "outbox.reorg", changes).await?;
            memory.doubt = !certain;
        }
        let open = self.scope.open_slots(&self.store).await?;
        let mut changes = Changes { now, ..Changes::default() };
        if open.iter().any(|slot| slot.nonce < seen.count) {
            // Blocks are only scanned from a head that is known to be an ancestor.
            let from: Option<&BlockRef> = if *progress == Progress::Forward { last.as_ref() } else { None };
            let mut findings = self.chain.find(&open, seen, from, canonical).await?;
            self.chain.search(&self.config, &open, seen, &mut memory.suspects, &mut findings).await;
            let settlements = machine::settle(&open, &findings);
            self.apply(&mut changes, &open, settlements, report).await?;
        } else {
            memory.suspects.clear();
        }
        memory.doubt |= self.finish(&mut changes, seen, canonical, report).await?;
        if changes.is_empty() {
            return Ok(Some(open));
        }
        self.commit(fence, "outbox.settle", changes).await?;
        Ok(None)
    }

    /// Compares the blocks of all included nonces with the chain; tells whether it could judge every one.
    async fn put_back(
        &self,
        now: UnixMillis,
        seen: &Observation,
        canonical: &mut Canonical,
    ) -> Result<(Changes, bool), OutboxError> {
        let mut certain = true;
        let mut changes = Changes { now, ..Changes::default() };
        let blocks = self.scope.included_blocks(&self.store).await?;
        self.chain.learn(blocks.iter().map(|(number, _)| *number).filter(|number| *number <= seen.head.number), canonical).await;
        for (number, hash) in blocks {
            // Above the head nothing can be told: the endpoint may lag.
            let found = if number > seen.head.number { None } else { self.chain.hash_of(number, canonical).await? };
            if machine::standing(hash, found) != Standing::Orphaned {
                certain &= found.is_some();
                continue;
            }
            // Taking back is undone easily, but it worries everybody: one endpoint's word is not enough where there are more.
            let sure = match self.chain.endpoints.quorum() {
                0 | 1 => found,
                _ => self.chain.sure_hash(number).await.unwrap_or(None),
            };
            if machine::standing(hash, sure) != Standing::Orphaned {
                certain &= sure.is_some();
                continue;
            }
            for row in self.scope.included_in(&self.store, hash).await? {
                changes.put_back.push(row.nonce);
                if let Some(id) = row.intent {
                    changes.transitions.push(Transition {
                        id,
                        from: State::Included,
                        to: State::Broadcast,
                        at: now,
                        tx_hash: Some(row.hash),
                        nonce: Some(row.nonce),
                        note: Some(format!("block {number} ({hash}) was reorganised away")),
                    });
                }
            }
        }
        if !changes.put_back.is_empty() {
            tracing::warn!(chain = %self.config.chain, account = %self.scope.account, transactions = changes.put_back.len(), "reorganisation");
        }
        Ok((changes, certain))
    }

    /// Turns the machine's settlements into rows.
    async fn apply(
        &self,
        changes: &mut Changes,
        open: &[Slot],
        settlements: Vec<Settlement>,
        report: &mut TurnReport,
    ) -> Result<(), OutboxError> {
        let slots: BTreeMap<u64, &Slot> = open.iter().map(|slot| (slot.nonce, slot)).collect();
        let included: Vec<IntentId> = settlements
            .iter()
            .filter_map(|settlement| match settlement {
                Settlement::Included { nonce, .. } => slots.get(nonce)?.intent.as_ref().map(|intent| intent.id),
                _ => None,
            })
            .collect();
        let recorded = self.scope.intents(&self.store, &included).await?;
        for settlement in settlements {
            match settlement {
                Settlement::Included { nonce, inclusion } => {
                    let Some(slot) = slots.get(&nonce) else { continue };
                    report.included += 1;
                    self.include(changes, slot, inclusion, &recorded).await;
                }
                Settlement::Released { nonce, foreign } => {
                    let Some(slot) = slots.get(&nonce) else { continue };
                    report.released += 1;
                    changes.foreign.push(nonce);
                    release(changes, slot, foreign.map(|hash| hash.to_string()));
                    tracing::warn!(chain = %self.config.chain, account = %self.scope.account, nonce, foreign = foreign.map(tracing::field::display),
                        "a nonce was used outside of this program");
                }
                Settlement::Taken { nonce } => {
                    let Some(intent) = slots.get(&nonce).and_then(|slot| slot.intent.as_ref()) else { continue };
                    let hold = Some(Hold::NonceTaken { nonce });
                    if intent.hold != hold {
                        changes.holds.push(HoldChange { id: intent.id, hold, retries: 0, retry_at: UnixMillis(0) });
                    }
                }
            }
        }
        Ok(())
    }

    async fn include(
        &self,
        changes: &mut Changes,
        slot: &Slot,
        mut inclusion: Inclusion,
        recorded: &BTreeMap<IntentId, RecordedIntent>,
    ) {
        let Some(attempt) = slot.attempts.iter().find(|attempt| attempt.hash == inclusion.hash) else { return };
        let row = slot.intent.as_ref().and_then(|intent| recorded.get(&intent.id));
        if let (false, Kind::Send, Some(row)) = (inclusion.success, attempt.kind, row) {
            inclusion.revert_reason = self.chain.revert_reason(row.to, row.value, row.data.clone(), inclusion.block_number).await;
        }
        // A filler has no caller who would wait; it is watched as long as the longest usual wish.
        let confirmations = row.map_or(self.config.finality_depth, |row| row.confirmations);
        if let Some(intent) = &slot.intent {
            changes.transitions.push(Transition {
                id: intent.id,
                from: intent.state.clone(),
                to: State::Included,
                at: changes.now,
                tx_hash: Some(inclusion.hash),
                nonce: Some(slot.nonce),
                note: match (attempt.kind, inclusion.success) {
                    (Kind::Cancel, _) => Some("the cancellation was included".to_owned()),
                    (_, false) => Some("execution reverted".to_owned()),
                    _ => None,
                },
            });
        }
        changes.included.push(NewInclusion {
            nonce: slot.nonce,
            intent: slot.intent.as_ref().map(|intent| intent.id),
            kind: attempt.kind,
            final_block: machine::final_block(inclusion.block_number, confirmations),
            inclusion,
        });
    }

    /// Ends what has its confirmations, after its block was found canonical at this moment. Tells whether a block was found to
    /// be another one.
    async fn finish(
        &self,
        changes: &mut Changes,
        seen: &Observation,
        canonical: &mut Canonical,
        report: &mut TurnReport,
    ) -> Result<bool, OutboxError> {
        let mut due = self.scope.due(&self.store, seen.head.number, FINAL_LIMIT).await?;
        let more = due.len() as u64 == FINAL_LIMIT;
        // What was just included may be final at once when one confirmation is enough.
        let now_final = changes.included.iter().filter(|new| new.final_block <= seen.head.number);
        due.extend(now_final.map(|new| DueInclusion {
            nonce: new.nonce,
            hash: new.inclusion.hash,
            intent: new.intent,
            kind: new.kind,
            success: new.inclusion.success,
            revert_reason: new.inclusion.revert_reason.clone(),
            block_number: new.inclusion.block_number,
            block_hash: new.inclusion.block_hash,
        }));
        if due.is_empty() {
            return Ok(false);
        }
        let standing = self.standing_of(&due, canonical).await;
        let orphaned = due.iter().any(|row| {
            let found = standing.get(&row.block_number).copied().flatten();
            machine::standing(row.block_hash, found) == Standing::Orphaned
        });
        due.retain(|row| standing.get(&row.block_number) == Some(&Some(row.block_hash)));
        report.again |= more && !due.is_empty();
        let ids: Vec<IntentId> = due.iter().filter(|row| row.kind == Kind::Cancel).filter_map(|row| row.intent).collect();
        let cancelled = self.scope.intents(&self.store, &ids).await?;
        for row in due {
            changes.settled.push(row.nonce);
            let Some(id) = row.intent else { continue };
            let to = match (row.kind, row.success) {
                (Kind::Cancel | Kind::Filler, _) => {
                    State::Dropped(self.cancel_reason(row.nonce, cancelled.get(&id), changes.now).await?)
                }
                (Kind::Send, true) => State::Final,
                (Kind::Send, false) => {
                    let reason = row.revert_reason.clone().unwrap_or_else(|| "no reason given".to_owned());
                    State::Reverted(Reason::Reverted { reason })
                }
            };
            report.finished += 1;
            changes.transitions.push(Transition {
                id,
                from: State::Included,
                to,
                at: changes.now,
                tx_hash: Some(row.hash),
                nonce: Some(row.nonce),
                note: None,
            });
        }
        Ok(orphaned)
    }

    /// Canonical hashes of the blocks that would make something final, agreed on by the quorum of the endpoints. A block that
    /// cannot be verified now makes nothing final now.
    async fn standing_of(&self, due: &[DueInclusion], canonical: &mut Canonical) -> HashMap<u64, Option<alloy_primitives::B256>> {
        let mut found = HashMap::new();
        if self.chain.endpoints.quorum() <= 1 {
            self.chain.learn(due.iter().map(|row| row.block_number), canonical).await;
        }
        for row in due {
            if found.contains_key(&row.block_number) {
                continue;
            }
            let hash = if self.chain.endpoints.quorum() > 1 {
                self.chain.sure_hash(row.block_number).await
            } else {
                self.chain.hash_of(row.block_number, canonical).await
            };
            let hash = hash.unwrap_or_else(|error| {
                tracing::debug!(chain = %self.config.chain, block = row.block_number, %error, "a block could not be verified; trying again");
                None
            });
            found.insert(row.block_number, hash);
        }
        found
    }

    /// Why an intent was cancelled.
    async fn cancel_reason(&self, nonce: u64, intent: Option<&RecordedIntent>, now: UnixMillis) -> Result<Reason, OutboxError> {
        if intent.is_some_and(|intent| intent.cancel) {
            return Ok(Reason::Cancelled);
        }
        if let Some(message) = self.scope.rejected(&self.store, nonce).await? {
            return Ok(Reason::Rejected { message });
        }
        Ok(if intent.is_some_and(|intent| machine::is_past(intent.deadline, now)) { Reason::Deadline } else { Reason::Cancelled })
    }
}

/// An intent whose nonce is gone for good waits for a new one, unless it was to be stopped anyway.
fn release(changes: &mut Changes, slot: &Slot, foreign: Option<String>) {
    let Some(intent) = &slot.intent else { return };
    let stopped = slot.attempts.iter().any(|attempt| attempt.kind == Kind::Cancel);
    let to = if intent.cancel {
        State::Dropped(Reason::Cancelled)
    } else if machine::is_past(intent.deadline, changes.now) {
        State::Dropped(Reason::Deadline)
    } else if stopped {
        let refused =
            slot.attempts.iter().filter(|attempt| attempt.kind == Kind::Send).find_map(|attempt| attempt.rejection.as_ref());
        State::Dropped(Reason::Rejected { message: refused.map_or_else(String::new, |(_, message)| message.clone()) })
    } else {
        State::Recorded
    };
    changes.transitions.push(Transition {
        id: intent.id,
        from: intent.state.clone(),
        to,
        at: changes.now,
        tx_hash: None,
        nonce: Some(slot.nonce),
        note: Some(match foreign {
            Some(hash) => format!("nonce {} was used outside of this program by {hash}", slot.nonce),
            None => format!("nonce {} was used outside of this program", slot.nonce),
        }),
    });
}
