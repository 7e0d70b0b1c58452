//! Connections for reads: opened when needed, kept, replaced when broken.
//!
//! A read is repeated once when an idle connection turns out to be broken, so a restart of the server is not seen by readers.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use crate::engine::{Backend, Conn, Role, Target, is_lost};
use crate::error::StoreError;
use crate::options::StoreOptions;
use crate::value::{Row, Value};

pub(crate) struct Pool {
    idle: Mutex<Vec<Conn>>,
    permits: Semaphore,
}

impl Pool {
    pub(crate) fn new(options: &StoreOptions) -> Self {
        let connections = usize::try_from(options.read_connections.max(1)).unwrap_or(1);
        Self { idle: Mutex::new(Vec::new()), permits: Semaphore::new(connections) }
    }

    pub(crate) async fn query(
        &self,
        target: &Target,
        options: &StoreOptions,
        sql: &str,
        params: Vec<Value>,
    ) -> Result<Vec<Row>, StoreError> {
        let _permit = self.permits.acquire().await.map_err(|_| StoreError::Closed)?;
        if let Some(conn) = self.take() {
            // The values are needed again only if an idle connection was broken, which a file never is.
            let again = (target.backend() == Backend::Postgres).then(|| params.clone());
            match (self.run(conn, target, options, sql, params).await, again) {
                (Err(error), Some(params)) if is_lost(&error) => {
                    // The others are as old as this one.
                    self.clear();
                    let conn = target.connect(Role::Reader).await?;
                    self.run(conn, target, options, sql, params).await
                }
                (outcome, _) => outcome,
            }
        } else {
            let conn = target.connect(Role::Reader).await?;
            self.run(conn, target, options, sql, params).await
        }
    }

    async fn run(
        &self,
        mut conn: Conn,
        target: &Target,
        options: &StoreOptions,
        sql: &str,
        params: Vec<Value>,
    ) -> Result<Vec<Row>, StoreError> {
        // Only a network can leave a read without any answer. The connection of an abandoned read is dropped, not reused.
        let outcome = match options.job_time_limit {
            Some(limit) if target.backend() == Backend::Postgres => {
                match tokio::time::timeout(limit, conn.run("", sql, params)).await {
                    Ok(outcome) => outcome,
                    Err(_) => return Err(StoreError::StatementTimeLimit { place: target.place.to_string() }),
                }
            }
            _ => conn.run("", sql, params).await,
        };
        let outcome = outcome.map_err(|error| error.into_store(target, Role::Reader, sql));
        if !outcome.as_ref().is_err_and(is_lost) {
            self.idle().push(conn);
        }
        outcome.map(|(rows, _)| rows)
    }

    /// Drops idle connections: they are broken, or their prepared statements are out of date.
    pub(crate) fn clear(&self) {
        self.idle().clear();
    }

    /// No further read starts.
    pub(crate) fn close(&self) {
        self.permits.close();
        self.clear();
    }

    fn take(&self) -> Option<Conn> {
        self.idle().pop()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Conn>> {
        // The list is valid at any time: a panic elsewhere cannot leave it half changed.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
