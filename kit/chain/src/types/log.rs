//! Logs and log filters.

use alloy_primitives::{Address, B256, Bloom, BloomInput, Bytes, LogData};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::quantity;

/// One log of an included transaction. Pending logs (without a block) do not occur here: reading one is an error.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Log {
    /// Contract that emitted it.
    pub address: Address,
    /// Indexed values; for a named event the first is the event's signature hash.
    pub topics: Vec<B256>,
    /// ABI-encoded values that are not indexed.
    pub data: Bytes,
    /// Height of the block.
    #[serde(deserialize_with = "quantity::required")]
    pub block_number: u64,
    /// Hash of the block.
    pub block_hash: B256,
    /// Transaction that emitted it.
    pub transaction_hash: B256,
    /// Position of the transaction in the block.
    #[serde(deserialize_with = "quantity::required")]
    pub transaction_index: u64,
    /// Position of the log in the block.
    #[serde(deserialize_with = "quantity::required")]
    pub log_index: u64,
}

impl Log {
    /// Topics and data in the form that `SolEvent::decode_log_data` takes. `None` if there are more than four topics,
    /// which no EVM produces.
    pub fn to_log_data(&self) -> Option<LogData> {
        LogData::new(self.topics.clone(), self.data.clone())
    }

    /// Address, topics and data in the form that `SolEvent::decode_log` takes.
    pub fn to_primitive(&self) -> Option<alloy_primitives::Log> {
        alloy_primitives::Log::new(self.address, self.topics.clone(), self.data.clone())
    }

    /// Place of the log in the chain, for ordering.
    pub fn position(&self) -> (u64, u64) {
        (self.block_number, self.log_index)
    }
}

/// Which logs are wanted. An empty list means "any"; entries of one list are alternatives.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogFilter {
    /// Contracts.
    pub addresses: Vec<Address>,
    /// Values for the four topics.
    pub topics: [Vec<B256>; 4],
    /// Where to look; the follower and the backfill set this themselves.
    pub span: LogSpan,
}

/// Where a [`LogFilter`] looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum LogSpan {
    /// The newest block only.
    #[default]
    Latest,
    /// From one height to another, both included.
    Range {
        /// First height.
        from: u64,
        /// Last height.
        to: u64,
    },
    /// One block, by hash.
    Block(B256),
}

impl LogFilter {
    /// Any log of any contract.
    pub fn any() -> Self {
        Self::default()
    }

    /// All logs of one contract.
    pub fn address(address: Address) -> Self {
        Self { addresses: vec![address], ..Self::default() }
    }

    /// Adds a contract.
    #[must_use]
    pub fn or_address(mut self, address: Address) -> Self {
        self.addresses.push(address);
        self
    }

    /// Sets the accepted event signatures (topic 0).
    #[must_use]
    pub fn events(mut self, signatures: impl IntoIterator<Item = B256>) -> Self {
        self.topics[0] = signatures.into_iter().collect();
        self
    }

    /// Sets the accepted values of topic 0, 1, 2 or 3. Another `index` leaves the filter as it is: the EVM has four topics.
    #[must_use]
    pub fn topic(mut self, index: usize, values: impl IntoIterator<Item = B256>) -> Self {
        if let Some(topic) = self.topics.get_mut(index) {
            *topic = values.into_iter().collect();
        }
        self
    }

    /// Looks from height `from` to height `to`, both included.
    #[must_use]
    pub fn range(mut self, from: u64, to: u64) -> Self {
        self.span = LogSpan::Range { from, to };
        self
    }

    /// Looks in one block.
    #[must_use]
    pub fn at_block(mut self, hash: B256) -> Self {
        self.span = LogSpan::Block(hash);
        self
    }

    /// Whether address and topics of a log are wanted. Does not look at the span.
    pub fn matches(&self, log: &Log) -> bool {
        self.matches_parts(log.address, &log.topics)
    }

    /// Like [`LogFilter::matches`], from the parts of a log.
    pub fn matches_parts(&self, address: Address, topics: &[B256]) -> bool {
        let address_fits = self.addresses.is_empty() || self.addresses.contains(&address);
        address_fits
            && self
                .topics
                .iter()
                .enumerate()
                .all(|(index, wanted)| wanted.is_empty() || topics.get(index).is_some_and(|topic| wanted.contains(topic)))
    }

    /// Whether a block with this bloom filter can hold a wanted log. `true` may be a false alarm, `false` never is,
    /// provided that the chain fills its bloom filters.
    pub fn may_match(&self, bloom: &Bloom) -> bool {
        if bloom.is_zero() {
            return false;
        }
        let address_fits = self.addresses.is_empty()
            || self.addresses.iter().any(|address| bloom.contains_input(BloomInput::Raw(address.as_slice())));
        address_fits
            && self.topics.iter().all(|wanted| {
                wanted.is_empty() || wanted.iter().any(|topic| bloom.contains_input(BloomInput::Raw(topic.as_slice())))
            })
    }

    /// The parameter of `eth_getLogs`.
    pub fn to_param(&self) -> Value {
        let mut object = Map::new();
        match self.span {
            LogSpan::Latest => {
                object.insert("fromBlock".into(), json!("latest"));
                object.insert("toBlock".into(), json!("latest"));
            }
            LogSpan::Range { from, to } => {
                object.insert("fromBlock".into(), json!(quantity::hex(from)));
                object.insert("toBlock".into(), json!(quantity::hex(to)));
            }
            LogSpan::Block(hash) => {
                object.insert("blockHash".into(), json!(hash));
            }
        }
        self.write_selection(&mut object);
        Value::Object(object)
    }

    /// The parameter of an `eth_subscribe` to `logs`: without a span.
    pub fn to_subscription_param(&self) -> Value {
        let mut object = Map::new();
        self.write_selection(&mut object);
        Value::Object(object)
    }

    fn write_selection(&self, object: &mut Map<String, Value>) {
        match self.addresses.as_slice() {
            [] => {}
            [one] => {
                object.insert("address".into(), json!(one));
            }
            many => {
                object.insert("address".into(), json!(many));
            }
        }
        let last_used = self.topics.iter().rposition(|wanted| !wanted.is_empty());
        if let Some(last_used) = last_used {
            let topics = self.topics.iter().take(last_used + 1).map(|wanted| match wanted.as_slice() {
                [] => Value::Null,
                [one] => json!(one),
                many => json!(many),
            });
            object.insert("topics".into(), Value::Array(topics.collect()));
        }
    }
}
