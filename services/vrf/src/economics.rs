//! What the relay earns and spends, as far as the rows tell, and how long the balances last.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{I256, U256};
use jiff::Span;
use jiff::civil::Date;
use serde::Serialize;
use windlass_outbox::{DayFees, Ledger};
use windlass_store::{Store, UnixMillis};

use crate::config::VrfConfig;
use crate::error::VrfError;
use crate::shared::Balances;
use crate::tables::{BandDay, Scope, TaskDay, day_of};
use crate::trace::{as_optional_text, as_text};

/// Most days that are summed up at once.
pub const MAX_DAYS: u32 = 366;

/// What happened on one day (UTC). Amounts are decimal texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Day {
    /// `2026-03-01`; of the sum of all days, the first one.
    pub date: String,
    /// Tasks that this relay answered.
    pub tasks: u64,
    /// Their fees, wei.
    #[serde(serialize_with = "as_text")]
    pub earned: U256,
    /// Transactions to the provider in a block.
    pub relays: u64,
    /// Those of them that reverted or were cancelled.
    pub relays_failed: u64,
    /// Fees paid for them, wei.
    #[serde(serialize_with = "as_text")]
    pub gas_paid: U256,
    /// Transactions on BandChain in a block.
    pub band_transactions: u64,
    /// Those of them that failed.
    pub band_failed: u64,
    /// Requests made by them.
    pub band_requests: u64,
    /// Fees paid for them, in the smallest unit of the denomination. Fees of data sources are not among them: no row tells those.
    #[serde(serialize_with = "as_text")]
    pub band_fees: u128,
    /// Earned, less what was paid for gas, less `profit.request_cost` for each Band request; wei.
    #[serde(serialize_with = "as_text")]
    pub profit: I256,
}

/// How long the balances last at the recent costs. `null` where nothing is known yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Forecast {
    /// Balance of the relaying account, wei.
    #[serde(serialize_with = "as_optional_text")]
    pub client_balance: Option<U256>,
    /// Cost of one relay, wei: the average of the period.
    #[serde(serialize_with = "as_optional_text")]
    pub relay_cost: Option<U256>,
    /// Relays that the balance pays for.
    pub relays_left: Option<u64>,
    /// Balance of the Band account, in the smallest unit of the denomination.
    #[serde(serialize_with = "as_optional_text")]
    pub band_balance: Option<u128>,
    /// Transaction fee of one request: the average of the period.
    #[serde(serialize_with = "as_optional_text")]
    pub request_fee: Option<u128>,
    /// Requests that the balance pays for if data sources cost nothing.
    pub requests_left: Option<u64>,
    /// Requests that it pays for if data sources cost as much as `band.ds_fee_limit` allows.
    pub requests_left_at_limit: Option<u64>,
}

/// Sums of a period, and what follows from them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Statistics {
    /// How many days, today among them.
    pub days: u32,
    /// Denomination of fees on BandChain.
    pub band_denom: String,
    /// All days together.
    pub total: Day,
    /// The days on which something happened, newest first.
    pub by_day: Vec<Day>,
    /// How long the balances last.
    pub forecast: Forecast,
}

/// The sums as they come from the rows, by day.
#[derive(Debug, Clone, Default)]
struct Sums {
    tasks: BTreeMap<i64, TaskDay>,
    gas: BTreeMap<i64, DayFees>,
    band: BTreeMap<i64, BandDay>,
}

impl Statistics {
    /// Sums up the last `days` days, at most [`MAX_DAYS`].
    ///
    /// # Errors
    /// The database fails, or holds what this version does not understand.
    pub async fn load(
        scope: Scope,
        store: &Store,
        config: &VrfConfig,
        balances: &Balances,
        days: u32,
        now: UnixMillis,
    ) -> Result<Self, VrfError> {
        let days = days.clamp(1, MAX_DAYS);
        let from = day_of(now).saturating_sub(i64::from(days)).saturating_add(1);
        let sums = Sums {
            tasks: scope.earned_by_day(store, from).await?,
            gas: Ledger::fees_by_day(store, scope.chain_id, scope.provider, from).await?,
            band: scope.band_fees_by_day(store, from).await?,
        };
        Ok(Self::from_sums(&sums, config, balances, days, from))
    }

    fn from_sums(sums: &Sums, config: &VrfConfig, balances: &Balances, days: u32, from: i64) -> Self {
        let request_cost = config.profit.request_cost.wei();
        let all: BTreeSet<i64> = sums.tasks.keys().chain(sums.gas.keys()).chain(sums.band.keys()).copied().collect();
        let by_day: Vec<Day> = all.into_iter().rev().map(|day| sums.day(day, request_cost)).collect();
        let total = by_day.iter().fold(Day::empty(from), |total, day| total.plus(day));
        Self {
            days,
            band_denom: config.band.denom.clone(),
            forecast: forecast(&total, balances, config.band.ds_fee_limit),
            total,
            by_day,
        }
    }
}

impl Sums {
    fn day(&self, day: i64, request_cost: U256) -> Day {
        let tasks = self.tasks.get(&day).copied().unwrap_or_default();
        let gas = self.gas.get(&day).copied().unwrap_or_default();
        let band = self.band.get(&day).copied().unwrap_or_default();
        let spent = gas.fees.saturating_add(request_cost.saturating_mul(U256::from(band.requests)));
        Day {
            date: date(day),
            tasks: tasks.tasks,
            earned: tasks.earned,
            relays: gas.transactions,
            relays_failed: gas.failed,
            gas_paid: gas.fees,
            band_transactions: band.transactions,
            band_failed: band.failed,
            band_requests: band.requests,
            band_fees: band.fees,
            profit: signed(tasks.earned).saturating_sub(signed(spent)),
        }
    }
}

impl Day {
    fn empty(day: i64) -> Self {
        Sums::default().day(day, U256::ZERO)
    }

    fn plus(mut self, other: &Self) -> Self {
        self.tasks = self.tasks.saturating_add(other.tasks);
        self.earned = self.earned.saturating_add(other.earned);
        self.relays = self.relays.saturating_add(other.relays);
        self.relays_failed = self.relays_failed.saturating_add(other.relays_failed);
        self.gas_paid = self.gas_paid.saturating_add(other.gas_paid);
        self.band_transactions = self.band_transactions.saturating_add(other.band_transactions);
        self.band_failed = self.band_failed.saturating_add(other.band_failed);
        self.band_requests = self.band_requests.saturating_add(other.band_requests);
        self.band_fees = self.band_fees.saturating_add(other.band_fees);
        self.profit = self.profit.saturating_add(other.profit);
        self
    }
}

fn signed(amount: U256) -> I256 {
    I256::try_from(amount).unwrap_or(I256::MAX)
}

/// A day as a date; its number where no calendar reaches.
fn date(day: i64) -> String {
    let epoch = Date::constant(1970, 1, 1);
    Span::new().try_days(day).and_then(|span| epoch.checked_add(span)).map_or_else(|_| day.to_string(), |date| date.to_string())
}

fn forecast(total: &Day, balances: &Balances, ds_fee_limit: u128) -> Forecast {
    let relay_cost = total.gas_paid.checked_div(U256::from(total.relays));
    let request_fee = total.band_fees.checked_div(u128::from(total.band_requests));
    let times = |balance: U256, cost: U256| balance.checked_div(cost).map(|times| times.saturating_to::<u64>());
    let requests = |cost: u128| Some(balances.band?.checked_div(cost)?).map(|times| u64::try_from(times).unwrap_or(u64::MAX));
    Forecast {
        client_balance: balances.client_wei,
        relay_cost,
        relays_left: balances.client_wei.zip(relay_cost).and_then(|(balance, cost)| times(balance, cost)),
        band_balance: balances.band,
        request_fee,
        requests_left: request_fee.and_then(requests),
        requests_left_at_limit: request_fee.and_then(|fee| requests(fee.saturating_add(ds_fee_limit))),
    }
}
