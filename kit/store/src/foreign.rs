//! Reading the database of another program, to take over what it knows. Nothing is ever written to it.

use crate::engine::{self, Conn, Role, Scratch, Target};
use crate::error::StoreError;
use crate::options::StoreOptions;
use crate::value::{Row, Value};

/// The database of another program, opened for reading only. A [`Store`](crate::Store) refuses such a database.
///
/// Columns of 16, 32 and 64 bit integers, booleans, text and bytes can be read; anything else must be cast in the statement.
pub struct ForeignDatabase {
    conn: Conn,
    target: Target,
    _scratch: Scratch,
}

impl std::fmt::Debug for ForeignDatabase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ForeignDatabase").field("place", &self.place()).finish_non_exhaustive()
    }
}

impl ForeignDatabase {
    /// Opens it. URLs are as for [`Store::open`](crate::Store::open); a SQLite file must exist.
    ///
    /// # Errors
    /// Says what is wrong with the URL, the file or the server. Never shows the URL.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let (target, scratch) = Target::parse(url, &StoreOptions::default())?;
        let target = target.only_read()?;
        let conn = target.connect(Role::Reader).await?;
        Ok(Self { conn, target, _scratch: scratch })
    }

    /// Names the database for people: path, or database name, host and port. Never user or password.
    pub fn place(&self) -> &str {
        &self.target.place
    }

    /// Runs a reading statement and returns all rows.
    ///
    /// # Errors
    /// As [`Store::query`](crate::Store::query); a statement that writes is refused by the database.
    pub async fn query(&mut self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        engine::check_parameters(sql, &params)?;
        let outcome = self.conn.run("", sql, params).await;
        outcome.map(|(rows, _)| rows).map_err(|error| error.into_store(&self.target, Role::Reader, sql))
    }

    /// Closes the connection.
    pub async fn close(self) {
        self.conn.close().await;
    }
}
