//! Leases with fencing.
#![allow(clippy::todo, unused_variables, missing_docs)]
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::error::StoreError;
use crate::store::Store;

/// Proof of having held a lease: shown with every write of the holder.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fence {
    /// Name of the lease.
    pub name: String,
    /// Grows with every change of the holder.
    pub number: u64,
}

/// A lease that was acquired.
#[derive(Debug, Clone)]
pub struct Lease {
    fence: Fence,
    holder: String,
    ttl: Duration,
    expires_at: UnixMillis,
}

impl Lease {
    pub fn fence(&self) -> &Fence {
        &self.fence
    }
}

/// Why a lease was lost.
#[derive(Debug, Clone)]
pub enum Loss {
    /// Another holder took it over.
    Replaced,
    /// It could not be renewed in time.
    Expired,
}

pub async fn acquire(store: &Store, name: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>, StoreError> {
    todo!()
}

/// True while the lease is still held.
pub async fn renew(store: &Store, lease: &mut Lease) -> Result<bool, StoreError> {
    todo!()
}

pub async fn release(store: &Store, lease: Lease) -> Result<(), StoreError> {
    todo!()
}

/// Waits until the lease is free and takes it.
pub async fn wait_acquire(store: &Store, name: &str, holder: &str, ttl: Duration) -> Result<Lease, StoreError> {
    todo!()
}

/// Renews every third of the time to live; returns when the lease is lost.
pub async fn keep(store: &Store, lease: &mut Lease) -> Loss {
    todo!()
}
