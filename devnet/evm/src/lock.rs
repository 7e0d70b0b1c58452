//! The chain behind its lock, so that what is remembered of a state ends with that state.

use std::ops::{Deref, DerefMut};

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::chain::Chain;

/// Many readers or one writer.
#[derive(Debug)]
pub(crate) struct Locked(RwLock<Chain>);

impl Locked {
    pub(crate) const fn new(chain: Chain) -> Self {
        Self(RwLock::new(chain))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Chain> {
        self.0.read()
    }

    pub(crate) fn write(&self) -> Writing<'_> {
        Writing(self.0.write())
    }
}

/// Leave to write. The pending block that readers share is forgotten before and after.
pub(crate) struct Writing<'a>(RwLockWriteGuard<'a, Chain>);

impl Deref for Writing<'_> {
    type Target = Chain;

    fn deref(&self) -> &Chain {
        &self.0
    }
}

impl DerefMut for Writing<'_> {
    fn deref_mut(&mut self) -> &mut Chain {
        self.0.forget_pending_block();
        &mut self.0
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.forget_pending_block();
    }
}
