//! Requests per second of each client.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Clients that are remembered. Beyond it all others share one budget.
const MAX_CLIENTS: usize = 10_000;

/// Who is asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Client {
    /// The holder of the token with this place in the list.
    Token(usize),
    /// Whoever is at this address.
    Address(IpAddr),
    /// All for whom there is no room.
    Others,
}

/// A bucket of requests for each client.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    per_second: f64,
    burst: f64,
    buckets: Mutex<HashMap<Client, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl RateLimiter {
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second: f64::from(per_second.max(1)), burst: f64::from(burst.max(1)), buckets: Mutex::default() }
    }

    /// Takes `cost` requests of the client's budget.
    ///
    /// # Errors
    /// How long the client has to wait for one request.
    pub(crate) fn take(&self, client: Client, cost: f64, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock();
        if buckets.len() >= MAX_CLIENTS && !buckets.contains_key(&client) {
            // Whoever has its whole budget again need not be remembered.
            buckets.retain(|_, bucket| self.left(bucket, now) < self.burst);
        }
        let client = if buckets.len() >= MAX_CLIENTS && !buckets.contains_key(&client) { Client::Others } else { client };
        let bucket = buckets.entry(client).or_insert(Bucket { left: self.burst, at: now });
        bucket.left = self.left(bucket, now);
        bucket.at = now;
        if bucket.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.left) / self.per_second));
        }
        // A costly request may bring the budget below zero: that is its penalty.
        bucket.left -= cost;
        Ok(())
    }

    fn left(&self, bucket: &Bucket, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        (bucket.left + passed * self.per_second).min(self.burst)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_its_burst_and_then_its_rate() {
        let limiter = RateLimiter::new(2, 3);
        let start = Instant::now();
        let client = Client::Token(0);
        for _ in 0..3 {
            limiter.take(client, 1.0, start).unwrap();
        }
        let wait = limiter.take(client, 1.0, start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(500));
        // Another client is not concerned.
        limiter.take(Client::Token(1), 1.0, start).unwrap();
        limiter.take(client, 1.0, start + wait).unwrap();
        limiter.take(client, 1.0, start + wait).unwrap_err();
    }

    #[test]
    fn memory_is_bounded_and_strangers_share() {
        let limiter = RateLimiter::new(1, 1);
        let start = Instant::now();
        for number in 0..MAX_CLIENTS {
            limiter.take(Client::Token(number), 1.0, start).unwrap();
        }
        limiter.take(Client::Token(MAX_CLIENTS), 1.0, start).unwrap();
        limiter.take(Client::Token(MAX_CLIENTS + 1), 1.0, start).unwrap_err();
        assert!(limiter.buckets.lock().len() <= MAX_CLIENTS + 1);
        // When the others are at rest, there is room again.
        limiter.take(Client::Token(MAX_CLIENTS + 1), 1.0, start + Duration::from_secs(5)).unwrap();
        assert!(limiter.buckets.lock().len() < 10);
    }
}
