//! A process that stops in the middle of a request, as under `SIGSTOP`, and wakes up later.

use tokio::sync::watch;

/// Lets requests through, or holds them until it is opened. Clones are handles to one gate.
#[derive(Clone, Debug)]
pub struct Gate {
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Requests that may still pass; `None` is any number.
    left: Option<u64>,
    /// Requests that wait.
    waiting: u64,
}

impl Default for Gate {
    fn default() -> Self {
        Self { state: watch::Sender::new(State::default()) }
    }
}

impl Gate {
    /// Closes after `requests` more requests.
    pub fn close_after(&self, requests: u64) {
        self.state.send_modify(|state| state.left = Some(requests));
    }

    /// Lets everything through again.
    pub fn open(&self) {
        self.state.send_modify(|state| state.left = None);
    }

    /// Number of requests that wait now.
    pub fn waiting(&self) -> u64 {
        self.state.borrow().waiting
    }

    /// Passes, or waits until the gate is opened.
    pub(crate) async fn pass(&self) {
        let mut free = false;
        self.state.send_modify(|state| {
            free = state.left != Some(0);
            state.left = state.left.map(|left| left.saturating_sub(1));
            state.waiting += u64::from(!free);
        });
        if free {
            return;
        }
        let mut changes = self.state.subscribe();
        // The sender is held by `self`, so the wait ends with an opening only.
        let _ = changes.wait_for(|state| state.left.is_none()).await;
        drop(changes);
        self.state.send_modify(|state| state.waiting -= 1);
    }
}
