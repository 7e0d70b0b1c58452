//! Accounts: numbers, sequences, balances in uband.

use std::collections::HashMap;

use crate::config::DENOM;

/// An account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Number that every signature covers. Given when the account first receives coins.
    pub number: u64,
    /// Sequence of its next transaction.
    pub sequence: u64,
    /// Balance in uband.
    pub uband: u128,
}

/// A refusal in the manner of the SDK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) codespace: &'static str,
    pub(crate) code: u32,
    pub(crate) raw_log: String,
}

impl Failure {
    pub(crate) fn sdk(code: u32, raw_log: impl Into<String>) -> Self {
        Self { codespace: "sdk", code, raw_log: raw_log.into() }
    }

    pub(crate) fn oracle(code: u32, raw_log: impl Into<String>) -> Self {
        Self { codespace: "oracle", code, raw_log: raw_log.into() }
    }
}

/// All accounts. There are two of them in the chain: the state after the newest block, and the state that CheckTx works on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bank {
    accounts: HashMap<String, Account>,
}

impl Bank {
    pub(crate) fn get(&self, address: &str) -> Option<Account> {
        self.accounts.get(address).copied()
    }

    /// The account, for a change. `None`: it never received coins.
    pub(crate) fn get_mut(&mut self, address: &str) -> Option<&mut Account> {
        self.accounts.get_mut(address)
    }

    /// Adds coins; makes the account if it is new.
    pub(crate) fn credit(&mut self, address: &str, uband: u128) {
        // Module accounts take the first numbers on a real chain.
        let number = self.accounts.len() as u64 + 20;
        let account = self.accounts.entry(address.to_owned()).or_insert(Account { number, ..Account::default() });
        account.uband = account.uband.saturating_add(uband);
    }

    /// Takes coins.
    pub(crate) fn debit(&mut self, address: &str, uband: u128) -> Result<(), Failure> {
        let balance = self.get(address).unwrap_or_default().uband;
        let left = balance.checked_sub(uband).ok_or_else(|| {
            let text = format!("spendable balance {balance}{DENOM} is smaller than {uband}{DENOM}: insufficient funds");
            Failure::sdk(5, text)
        })?;
        if let Some(account) = self.get_mut(address) {
            account.uband = left;
        }
        Ok(())
    }

    /// Moves coins.
    pub(crate) fn transfer(&mut self, from: &str, to: &str, uband: u128) -> Result<(), Failure> {
        self.debit(from, uband)?;
        self.credit(to, uband);
        Ok(())
    }

    /// Puts an account to what it was, or is in another state. `None`: it is not there.
    pub(crate) fn restore(&mut self, address: &str, account: Option<Account>) {
        match account {
            Some(account) => {
                self.accounts.insert(address.to_owned(), account);
            }
            None => {
                self.accounts.remove(address);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn coins_come_and_go() {
        let mut bank = Bank::default();
        assert_eq!(bank.get("a"), None);
        assert_eq!(bank.debit("a", 1).unwrap_err().code, 5);
        bank.credit("a", 10);
        bank.credit("b", 0);
        assert_eq!((bank.get("a").unwrap().number, bank.get("b").unwrap().number), (20, 21));
        bank.transfer("a", "b", 4).unwrap();
        assert_eq!((bank.get("a").unwrap().uband, bank.get("b").unwrap().uband), (6, 4));
        let refused = bank.transfer("a", "b", 7).unwrap_err();
        assert_eq!(refused.raw_log, "spendable balance 6uband is smaller than 7uband: insufficient funds");
        assert_eq!(bank.get("a").unwrap().uband, 6);
    }
}
