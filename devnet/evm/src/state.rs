//! Accounts and storage with cheap history.
//!
//! Every value is kept as a short list of `(version, value)`. A version is made for each block and for each manual change
//! (`anvil_setBalance` and the like), so a snapshot, the state after an old block, and a reorganisation are all "the values at
//! version n": reading costs one binary search, and going back costs only the values that were written since.

use std::collections::HashMap;

use alloy_primitives::map::DefaultHashBuilder;
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256};
use revm::bytecode::Bytecode;
use revm::state::{Account as EvmAccount, AccountInfo};

type Map<K, V> = HashMap<K, V, DefaultHashBuilder>;

/// A point in the history of the state. Later is larger.
pub(crate) type Version = u64;

/// An account without its storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) balance: U256,
    pub(crate) nonce: u64,
    pub(crate) code_hash: B256,
    /// Counts how often the account was made anew. It is part of the storage key, so that an account which is created again at
    /// the same address starts with empty storage.
    generation: u32,
}

impl Default for Account {
    fn default() -> Self {
        Self { balance: U256::ZERO, nonce: 0, code_hash: KECCAK256_EMPTY, generation: 0 }
    }
}

type SlotKey = (Address, u32, U256);

/// Values of one item, oldest first, at most one per version.
#[derive(Clone, Debug)]
struct History<T>(Vec<(Version, T)>);

impl<T: Copy> History<T> {
    fn at(&self, version: Version) -> Option<T> {
        match self.0.last() {
            Some((last, value)) if *last <= version => Some(*value),
            _ => {
                let after = self.0.partition_point(|(written, _)| *written <= version);
                after.checked_sub(1).and_then(|index| self.0.get(index)).map(|(_, value)| *value)
            }
        }
    }

    /// Returns whether this is the first write at `version`.
    fn set(&mut self, version: Version, value: T) -> bool {
        match self.0.last_mut() {
            Some((last, current)) if *last == version => {
                *current = value;
                false
            }
            _ => {
                self.0.push((version, value));
                true
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Written {
    Account(Address),
    Slot(SlotKey),
}

/// All accounts, their storage and their code.
#[derive(Debug, Default)]
pub(crate) struct State {
    version: Version,
    accounts: Map<Address, History<Option<Account>>>,
    slots: Map<SlotKey, History<U256>>,
    codes: Map<B256, Bytecode>,
    /// What was written at which version, oldest first: the undo log.
    journal: Vec<(Version, Written)>,
}

impl State {
    /// The newest version.
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// Starts a new version; writes go to it until the next call.
    pub(crate) fn begin(&mut self) -> Version {
        self.version += 1;
        self.version
    }

    /// Undoes everything that was written after `version`.
    pub(crate) fn rollback(&mut self, version: Version) {
        while let Some((written_at, written)) = self.journal.last().copied() {
            if written_at <= version {
                break;
            }
            self.journal.pop();
            match written {
                Written::Account(address) => pop_value(&mut self.accounts, &address),
                Written::Slot(key) => pop_value(&mut self.slots, &key),
            }
        }
        self.version = version;
    }

    pub(crate) fn account(&self, address: Address, version: Version) -> Option<Account> {
        self.accounts.get(&address).and_then(|history| history.at(version)).flatten()
    }

    pub(crate) fn slot(&self, address: Address, slot: U256, version: Version) -> U256 {
        let generation = self.account(address, version).map_or(0, |account| account.generation);
        self.slots.get(&(address, generation, slot)).and_then(|history| history.at(version)).unwrap_or_default()
    }

    pub(crate) fn code(&self, hash: B256) -> Bytecode {
        self.codes.get(&hash).cloned().unwrap_or_default()
    }

    /// What the interpreter wants to know of an account.
    pub(crate) fn info(&self, address: Address, version: Version) -> Option<AccountInfo> {
        self.account(address, version).map(|account| AccountInfo {
            balance: account.balance,
            nonce: account.nonce,
            code_hash: account.code_hash,
            ..AccountInfo::default().without_code()
        })
    }

    /// Changes an account at the newest version; a missing one is made.
    pub(crate) fn update(&mut self, address: Address, change: impl FnOnce(&mut Account)) {
        let mut account = self.account(address, self.version).unwrap_or_default();
        change(&mut account);
        self.put_account(address, Some(account));
    }

    /// Replaces the code of an account.
    pub(crate) fn set_code(&mut self, address: Address, code: Bytecode) {
        let hash = self.keep_code(code);
        self.update(address, |account| account.code_hash = hash);
    }

    /// Writes one storage slot.
    pub(crate) fn set_slot(&mut self, address: Address, slot: U256, value: U256) {
        if self.account(address, self.version).is_none() {
            self.put_account(address, Some(Account::default()));
        }
        self.put_slot(address, slot, value);
    }

    /// Takes over what the execution of one transaction changed.
    pub(crate) fn commit(&mut self, changes: impl IntoIterator<Item = (Address, EvmAccount)>) {
        for (address, changed) in changes {
            if !changed.is_touched() {
                continue;
            }
            let before = self.account(address, self.version);
            // An empty account that was touched is removed (EIP-161); a self-destructed one too.
            if changed.is_selfdestructed() || changed.is_empty() {
                if before.is_some() {
                    self.put_account(address, None);
                }
                continue;
            }
            self.commit_account(address, before, changed);
        }
    }

    fn commit_account(&mut self, address: Address, before: Option<Account>, changed: EvmAccount) {
        let mut generation = before.map_or(0, |account| account.generation);
        if changed.is_created() {
            generation = self.next_generation(address);
        }
        if let Some(code) = changed.info.code.clone().filter(|code| !code.is_empty()) {
            self.codes.entry(changed.info.code_hash).or_insert(code);
        }
        let after =
            Account { balance: changed.info.balance, nonce: changed.info.nonce, code_hash: changed.info.code_hash, generation };
        if before != Some(after) {
            self.put_account(address, Some(after));
        }
        for (slot, value) in changed.changed_storage_slots() {
            self.put_slot(address, *slot, value.present_value());
        }
    }

    /// One more than any generation this address had, also before it was removed.
    fn next_generation(&self, address: Address) -> u32 {
        let highest = self
            .accounts
            .get(&address)
            .and_then(|history| history.0.iter().filter_map(|(_, account)| account.map(|it| it.generation)).max());
        highest.map_or(0, |generation| generation.saturating_add(1))
    }

    fn keep_code(&mut self, code: Bytecode) -> B256 {
        if code.is_empty() {
            return KECCAK256_EMPTY;
        }
        let hash = code.hash_slow();
        self.codes.entry(hash).or_insert(code);
        hash
    }

    fn put_account(&mut self, address: Address, account: Option<Account>) {
        let history = self.accounts.entry(address).or_insert_with(|| History(Vec::with_capacity(1)));
        if history.set(self.version, account) {
            self.journal.push((self.version, Written::Account(address)));
        }
    }

    fn put_slot(&mut self, address: Address, slot: U256, value: U256) {
        let generation = self.account(address, self.version).map_or(0, |account| account.generation);
        let key = (address, generation, slot);
        let history = self.slots.entry(key).or_insert_with(|| History(Vec::with_capacity(1)));
        if history.set(self.version, value) {
            self.journal.push((self.version, Written::Slot(key)));
        }
    }

    /// A digest of what was written at `version`, in an order that does not depend on the map's.
    pub(crate) fn digest_of(&self, version: Version) -> Option<Vec<u8>> {
        let start = self.journal.partition_point(|(written_at, _)| *written_at < version);
        let written = self.journal.get(start..).unwrap_or_default();
        if written.is_empty() {
            return None;
        }
        let mut lines: Vec<Vec<u8>> = written.iter().map(|(_, item)| self.line(*item, version)).collect();
        lines.sort_unstable();
        Some(lines.concat())
    }

    fn line(&self, item: Written, version: Version) -> Vec<u8> {
        match item {
            Written::Account(address) => {
                let account = self.account(address, version);
                let mut line = address.to_vec();
                if let Some(account) = account {
                    line.extend_from_slice(&account.balance.to_be_bytes::<32>());
                    line.extend_from_slice(&account.nonce.to_be_bytes());
                    line.extend_from_slice(account.code_hash.as_slice());
                }
                line
            }
            Written::Slot((address, _, slot)) => {
                let mut line = address.to_vec();
                line.extend_from_slice(&slot.to_be_bytes::<32>());
                line.extend_from_slice(&self.slot(address, slot, version).to_be_bytes::<32>());
                line
            }
        }
    }
}

fn pop_value<K: std::hash::Hash + Eq, T>(map: &mut Map<K, History<T>>, key: &K) {
    let Some(history) = map.get_mut(key) else { return };
    history.0.pop();
    if history.0.is_empty() {
        map.remove(key);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn balance(state: &State, address: Address, version: Version) -> Option<u64> {
        state.account(address, version).map(|account| account.balance.to::<u64>())
    }

    #[test]
    fn values_are_read_at_any_version() {
        let (mut state, a) = (State::default(), Address::repeat_byte(1));
        for value in [10u64, 20, 30] {
            state.begin();
            state.update(a, |account| account.balance = U256::from(value));
            state.set_slot(a, U256::from(7), U256::from(value));
        }
        assert_eq!(balance(&state, a, 0), None);
        assert_eq!((1..=3).map(|v| balance(&state, a, v).unwrap()).collect::<Vec<_>>(), [10, 20, 30]);
        assert_eq!(state.slot(a, U256::from(7), 2), U256::from(20));
        assert_eq!(state.slot(a, U256::from(7), 99), U256::from(30));
    }

    #[test]
    fn rollback_forgets_what_came_later_and_nothing_else() {
        let (mut state, a, b) = (State::default(), Address::repeat_byte(1), Address::repeat_byte(2));
        state.begin();
        state.update(a, |account| account.nonce = 1);
        let kept = state.version();
        state.begin();
        state.update(a, |account| account.nonce = 2);
        state.set_slot(b, U256::ZERO, U256::from(5));
        state.rollback(kept);
        assert_eq!(state.version(), kept);
        assert_eq!(state.account(a, u64::MAX).unwrap().nonce, 1);
        assert_eq!(state.account(b, u64::MAX), None);
        assert_eq!(state.slot(b, U256::ZERO, u64::MAX), U256::ZERO);
        assert_eq!(state.journal.len(), 1);
    }
}
