//! Messages of a transaction: all take effect or none.

use windlass_vrf_protocol::messages::oracle::MsgRequestData;
use windlass_vrf_protocol::messages::tx::{Event, EventAttribute};
use windlass_vrf_protocol::multistore::Layout;

use super::ante::Gas;
use super::bank::{Account, Bank, Failure};
use super::oracle::{OracleRequest, event, fate, pick_validators, raw_calldata, request_events};
use super::transaction::{Msg, MsgSend, Transaction, uband};
use crate::config::{BandConfig, DENOM};
use crate::faults::Faults;

/// Gas of a request beside the runs of its script.
const REQUEST_GAS: u64 = 12_000;

/// Gas of a payment.
const SEND_GAS: u64 = 20_000;

/// Who earns the data source fees.
pub(crate) const TREASURY: &str = "treasury";

/// What the messages of a transaction run in.
pub(crate) struct Execution<'a> {
    pub(crate) config: &'a BandConfig,
    pub(crate) faults: &'a mut Faults,
    pub(crate) bank: &'a mut Bank,
    pub(crate) layout: Layout,
    pub(crate) height: u64,
    /// Unix seconds of the block.
    pub(crate) time: u64,
    /// Number of the next request.
    pub(crate) next_id: u64,
    pub(crate) gas: Gas,
    /// Accounts as they were before the messages, the oldest first.
    undo: Vec<(String, Option<Account>)>,
    requests: Vec<OracleRequest>,
    events: Vec<Event>,
}

/// What the messages of a transaction did.
pub(crate) struct Outcome {
    pub(crate) gas: Gas,
    /// Requests and events of all messages, or why one of them failed.
    pub(crate) result: Result<(Vec<OracleRequest>, Vec<Event>), Failure>,
}

impl<'a> Execution<'a> {
    pub(crate) fn new(
        config: &'a BandConfig,
        faults: &'a mut Faults,
        bank: &'a mut Bank,
        layout: Layout,
        (height, time): (u64, u64),
        next_id: u64,
        gas: Gas,
    ) -> Self {
        let (undo, requests, events) = (Vec::new(), Vec::new(), Vec::new());
        Self { config, faults, bank, layout, height, time, next_id, gas, undo, requests, events }
    }

    /// Runs the messages. If one fails, the accounts are as before.
    pub(crate) fn run(mut self, transaction: &Transaction) -> Outcome {
        let result = transaction.messages.iter().enumerate().try_for_each(|(index, message)| self.message(index, message));
        let result = match result {
            Ok(()) => Ok((self.requests, self.events)),
            Err(failure) => {
                for (address, account) in self.undo.into_iter().rev() {
                    self.bank.restore(&address, account);
                }
                Err(failure)
            }
        };
        Outcome { gas: self.gas, result }
    }

    fn message(&mut self, index: usize, message: &Msg) -> Result<(), Failure> {
        let begin = self.events.len();
        let module = if matches!(message, Msg::Send(_)) { "bank" } else { "oracle" };
        let attributes = [("action", message.type_url()), ("sender", message.sender()), ("module", module)];
        self.events.push(event("message", &attributes));
        let done = match message {
            Msg::Request(_, request) => self.request(request),
            Msg::Send(send) => self.send(send),
        };
        done.map_err(|failure| match failure.code {
            // Running out of gas ends the transaction, not the message.
            11 if failure.codespace == "sdk" => failure,
            _ => {
                let raw_log = format!("failed to execute message; message index: {index}: {}", failure.raw_log);
                Failure { raw_log, ..failure }
            }
        })?;
        if self.layout == Layout::V3 {
            let number = EventAttribute { key: "msg_index".to_owned(), value: index.to_string(), index: true };
            self.events.iter_mut().skip(begin).for_each(|event| event.attributes.push(number.clone()));
        }
        Ok(())
    }

    fn request(&mut self, message: &MsgRequestData) -> Result<(), Failure> {
        let (config, id) = (self.config, self.next_id);
        let size = message.calldata.len() as u64;
        if size > config.max_calldata_size {
            return Err(Failure::oracle(26, format!("got: {size}, max: {}: too large calldata", config.max_calldata_size)));
        }
        let (ask, most) = (message.ask_count, config.max_ask_count);
        if ask > most {
            return Err(Failure::oracle(25, format!("got: {ask}, max: {most}: invalid ask count")));
        }
        self.gas.consume(REQUEST_GAS, "WriteFlat")?;
        self.gas.consume(ask.saturating_mul(config.per_validator_request_gas), "PER_VALIDATOR_REQUEST_FEE")?;
        if config.oracle_validators < ask {
            let text = format!("{} < {ask}: insufficient available validators", config.oracle_validators);
            return Err(Failure::oracle(34, text));
        }
        let script = message.oracle_script_id;
        if !config.oracle_scripts.contains_key(&script) {
            return Err(Failure::oracle(4, format!("id: {script}: oracle script not found")));
        }
        self.gas.consume(config.base_owasm_gas, "BASE_OWASM_FEE")?;
        self.gas.consume(message.prepare_gas, "OWASM_PREPARE_FEE")?;
        let raw_calldata = raw_calldata(&message.calldata)
            .ok_or_else(|| Failure::oracle(2, "runtime error: the script cannot read its calldata: bad wasm execution"))?;
        let total_fee = config.data_source_fee.saturating_mul(u128::from(ask));
        self.collect(message, total_fee)?;
        self.gas.consume(config.base_owasm_gas, "BASE_OWASM_FEE")?;
        self.gas.consume(message.execute_gas, "OWASM_EXECUTE_FEE")?;
        let fate = fate(config, self.faults, id, self.height, message);
        let request = OracleRequest {
            id,
            message: message.clone(),
            raw_calldata,
            validators: pick_validators(config, id, ask),
            height: self.height,
            time: self.time,
            status: fate.status,
            ends_at: fate.ends_at,
            ans_count: fate.ans_count,
        };
        self.events.extend(request_events(&request, config.data_source_fee, total_fee));
        self.requests.push(request);
        self.next_id = self.next_id.saturating_add(1);
        Ok(())
    }

    /// Takes the data source fee, if it is within the message's limit.
    fn collect(&mut self, message: &MsgRequestData, total: u128) -> Result<(), Failure> {
        let limit = uband(&message.fee_limit).unwrap_or_default();
        if total > limit {
            let text = format!("require: {total}{DENOM}, max: {limit}{DENOM}: not enough fee");
            return Err(Failure::oracle(43, text));
        }
        if total == 0 { Ok(()) } else { self.transfer(&message.sender, TREASURY, total) }
    }

    fn send(&mut self, message: &MsgSend) -> Result<(), Failure> {
        self.gas.consume(SEND_GAS, "WriteFlat")?;
        let amount = uband(&message.amount).unwrap_or_default();
        self.transfer(&message.from_address, &message.to_address, amount)?;
        let coins = format!("{amount}{DENOM}");
        let attributes = [("recipient", message.to_address.as_str()), ("sender", &message.from_address), ("amount", &coins)];
        self.events.push(event("transfer", &attributes));
        Ok(())
    }

    fn transfer(&mut self, from: &str, to: &str, amount: u128) -> Result<(), Failure> {
        for address in [from, to] {
            self.undo.push((address.to_owned(), self.bank.get(address)));
        }
        self.bank.transfer(from, to, amount)
    }
}
