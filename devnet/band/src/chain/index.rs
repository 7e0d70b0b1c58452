//! Included transactions: by hash, by sender, by the sequence they used, and by their events.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use alloy_primitives::{B256, Bytes};
use windlass_vrf_protocol::messages::tx::Event;

use crate::error::QueryError;

/// A transaction that is in a block.
#[derive(Clone, Debug, PartialEq)]
pub struct IncludedTx {
    /// Its hash.
    pub hash: B256,
    /// Its block.
    pub height: u64,
    /// Its place in the block.
    pub index: u32,
    /// Time of the block in Unix milliseconds.
    pub time_ms: u64,
    /// The transaction as it was broadcast.
    pub bytes: Bytes,
    /// Who signed it. Bech32.
    pub sender: String,
    /// The sequence that it used; `None` if it failed before that.
    pub sequence: Option<u64>,
    /// Module of the code.
    pub codespace: String,
    /// 0 is success.
    pub code: u32,
    /// Logs as JSON (layout v2), nothing (v3), or why it failed.
    pub raw_log: String,
    /// Most gas it might use.
    pub gas_wanted: u64,
    /// Gas it used.
    pub gas_used: u64,
    /// All events, in order.
    pub events: Vec<Event>,
}

impl IncludedTx {
    /// The hash as nodes write it.
    pub fn hash_text(&self) -> String {
        hex::encode_upper(self.hash)
    }

    fn has(&self, kind: &str, key: &str, value: &str) -> bool {
        let of_kind = self.events.iter().filter(|event| event.r#type == kind);
        of_kind.flat_map(|event| &event.attributes).any(|attribute| attribute.key == key && attribute.value == value)
    }
}

#[derive(Debug, Default)]
pub(crate) struct TxIndex {
    /// The oldest first.
    all: VecDeque<Arc<IncludedTx>>,
    by_hash: HashMap<B256, Arc<IncludedTx>>,
    by_sender: HashMap<String, VecDeque<Arc<IncludedTx>>>,
    by_sequence: HashMap<(String, u64), Arc<IncludedTx>>,
}

impl TxIndex {
    pub(crate) fn add(&mut self, transaction: Arc<IncludedTx>) {
        self.by_hash.insert(transaction.hash, transaction.clone());
        self.by_sender.entry(transaction.sender.clone()).or_default().push_back(transaction.clone());
        if let Some(sequence) = transaction.sequence {
            self.by_sequence.insert((transaction.sender.clone(), sequence), transaction.clone());
        }
        self.all.push_back(transaction);
    }

    /// Forgets transactions below this height.
    pub(crate) fn prune(&mut self, lowest: u64) {
        while let Some(oldest) = self.all.pop_front_if(|oldest| oldest.height < lowest) {
            self.by_hash.remove(&oldest.hash);
            if let Some(sequence) = oldest.sequence {
                self.by_sequence.remove(&(oldest.sender.clone(), sequence));
            }
            if let Some(of_sender) = self.by_sender.get_mut(&oldest.sender) {
                of_sender.pop_front();
            }
        }
    }

    pub(crate) fn get(&self, hash: &B256) -> Option<&Arc<IncludedTx>> {
        self.by_hash.get(hash)
    }

    pub(crate) fn at_sequence(&self, sender: &str, sequence: u64) -> Option<&Arc<IncludedTx>> {
        self.by_sequence.get(&(sender.to_owned(), sequence))
    }

    pub(crate) fn of_sender(&self, sender: &str) -> impl DoubleEndedIterator<Item = &Arc<IncludedTx>> {
        self.by_sender.get(sender).into_iter().flatten()
    }

    /// All that meet the query, the oldest first: conditions such as `message.sender='band1...'` or `tx.height>5`, joined by `AND`.
    pub(crate) fn search(&self, query: &str) -> Result<Vec<Arc<IncludedTx>>, QueryError> {
        let conditions = query.split(" AND ").map(Condition::parse).collect::<Result<Vec<_>, _>>()?;
        let candidates: Vec<&Arc<IncludedTx>> = match conditions.iter().find_map(|condition| self.candidates(condition)) {
            Some(candidates) => candidates,
            None => self.all.iter().collect(),
        };
        let meets = |transaction: &&Arc<IncludedTx>| conditions.iter().all(|condition| condition.is_met(transaction));
        Ok(candidates.into_iter().filter(meets).cloned().collect())
    }

    /// A short list that holds all transactions which meet the condition.
    fn candidates(&self, condition: &Condition) -> Option<Vec<&Arc<IncludedTx>>> {
        let Condition::Equals { kind, key, value } = condition else { return None };
        match (kind.as_str(), key.as_str()) {
            ("tx", "acc_seq") => {
                let (sender, sequence) = value.split_once('/')?;
                Some(self.at_sequence(sender, sequence.parse().ok()?).into_iter().collect())
            }
            ("message", "sender") | ("tx", "fee_payer") => Some(self.of_sender(value).collect()),
            ("tx", "hash") => {
                let hash = value.parse::<B256>().ok()?;
                Some(self.get(&hash).into_iter().collect())
            }
            _ => None,
        }
    }
}

enum Condition {
    Equals { kind: String, key: String, value: String },
    Height { order: fn(&u64, &u64) -> bool, height: u64 },
}

impl Condition {
    fn parse(text: &str) -> Result<Self, QueryError> {
        let text = text.trim();
        let unknown = || QueryError::Query(text.to_owned());
        let (name, order, value) =
            [(">=", u64::ge as fn(&u64, &u64) -> bool), ("<=", u64::le), (">", u64::gt), ("<", u64::lt), ("=", u64::eq)]
                .into_iter()
                .find_map(|(sign, order)| text.split_once(sign).map(|(name, value)| (name.trim(), order, value.trim())))
                .ok_or_else(unknown)?;
        if name == "tx.height" {
            let height = value.trim_matches('\'').parse().map_err(|_| unknown())?;
            return Ok(Self::Height { order, height });
        }
        let value = value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).ok_or_else(unknown)?;
        let (kind, key) = name.split_once('.').ok_or_else(unknown)?;
        Ok(Self::Equals { kind: kind.to_owned(), key: key.to_owned(), value: value.to_owned() })
    }

    fn is_met(&self, transaction: &IncludedTx) -> bool {
        match self {
            Self::Height { order, height } => order(&transaction.height, height),
            Self::Equals { kind, key, value } if kind == "tx" && key == "hash" => {
                value.eq_ignore_ascii_case(&transaction.hash_text())
            }
            Self::Equals { kind, key, value } => transaction.has(kind, key, value),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::chain::oracle::event;

    fn included(number: u8, sender: &str, sequence: Option<u64>) -> Arc<IncludedTx> {
        let mut events = Vec::new();
        if let Some(sequence) = sequence {
            events.push(event("tx", &[("acc_seq", &format!("{sender}/{sequence}"))]));
            events.push(event("message", &[("sender", sender)]));
        }
        Arc::new(IncludedTx {
            hash: B256::repeat_byte(number),
            height: number.into(),
            index: 0,
            time_ms: 0,
            bytes: Bytes::new(),
            sender: sender.to_owned(),
            sequence,
            codespace: String::new(),
            code: 0,
            raw_log: String::new(),
            gas_wanted: 0,
            gas_used: 0,
            events,
        })
    }

    #[test]
    fn transactions_are_found_by_what_they_did() {
        let mut index = TxIndex::default();
        for number in 1..=4 {
            index.add(included(number, if number % 2 == 0 { "a" } else { "b" }, Some(u64::from(number))));
        }
        index.add(included(5, "a", None));
        let found = |index: &TxIndex, query: &str| {
            index.search(query).unwrap().iter().map(|transaction| transaction.height).collect::<Vec<_>>()
        };
        assert_eq!(found(&index, "tx.acc_seq='a/2'"), [2]);
        assert_eq!(found(&index, "tx.acc_seq='a/3'"), [0u64; 0]);
        assert_eq!(found(&index, "message.sender='a'"), [2, 4]);
        assert_eq!(found(&index, "message.sender='a' AND tx.height>2"), [4]);
        assert_eq!(found(&index, "tx.height<=2"), [1, 2]);
        assert_eq!(found(&index, &format!("tx.hash='{}'", hex::encode_upper([3; 32]))), [3]);
        assert!(index.search("what").is_err());
        assert!(index.search("tx.acc_seq=a").is_err());
        index.prune(3);
        assert_eq!(found(&index, "message.sender='a'"), [4]);
        assert!(index.get(&B256::repeat_byte(1)).is_none() && index.at_sequence("a", 2).is_none());
    }
}
