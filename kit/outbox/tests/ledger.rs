//! Looking at stored transactions without a key.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::sync::Arc;

use alloy_primitives::{Address, U256};
use support::{TARGET, config, worlds};
use windlass_outbox::{Ledger, State};
use windlass_sim::chain::revert_with;

#[tokio::test]
async fn a_ledger_knows_what_the_outbox_knows() {
    for world in worlds(config()).await {
        let id = world.submit(1).await;
        world.run(5).await;
        let ledger = Ledger::new(world.store.store.clone(), world.outbox.chain_id(), world.account());
        assert_eq!(ledger.id_of("order/1"), id);
        assert_eq!(ledger.status(id).await.unwrap(), Some(world.status(id).await));
        assert_eq!(ledger.history(id).await.unwrap(), world.outbox.history(id).await.unwrap());
        assert_eq!(ledger.status(ledger.id_of("order/2")).await.unwrap(), None);
        let stranger = Ledger::new(world.store.store.clone(), world.outbox.chain_id(), Address::repeat_byte(9));
        assert_eq!(stranger.status(id).await.unwrap(), None, "another account has other rows");
    }
}

#[tokio::test]
async fn the_fees_of_a_day_are_those_of_its_transactions() {
    for world in worlds(config()).await {
        let ids = world.submit_many(1..4).await;
        world.run(5).await;
        let mut paid = U256::ZERO;
        for id in &ids {
            let status = world.status(*id).await;
            assert_eq!(status.state, State::Final);
            paid += status.fee_paid.unwrap();
        }
        let today = world.now().0 / 86_400_000;
        let (store, chain_id) = (&world.store.store, world.outbox.chain_id());
        let days = Ledger::fees_by_day(store, chain_id, TARGET, today).await.unwrap();
        assert_eq!(days.len(), 1);
        assert_eq!((days[&today].transactions, days[&today].failed, days[&today].fees), (3, 0, paid));
        assert!(Ledger::fees_by_day(store, chain_id, TARGET, today + 1).await.unwrap().is_empty());
        assert!(Ledger::fees_by_day(store, chain_id, Address::repeat_byte(1), today).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_reverted_transaction_is_paid_for_and_counted_as_failed() {
    for world in worlds(config()).await {
        let id = world.outbox.submit(support::intent(1).with_simulate(false).with_gas_limit(90_000)).await.unwrap();
        world.turn().await;
        world.chain.register(TARGET, Arc::new(|_| revert_with("no")));
        world.run(5).await;
        assert!(matches!(world.status(id).await.state, State::Reverted(_)));
        let days = Ledger::fees_by_day(&world.store.store, world.outbox.chain_id(), TARGET, 0).await.unwrap();
        let day = days.values().next().unwrap();
        assert_eq!((day.transactions, day.failed), (1, 1));
        assert!(day.fees > U256::ZERO);
    }
}
