//! The sign-once guard: for one slot, one digest is ever signed.
//!
//! A *slot* is what a promise can be made for only once: the reveal of a voting round, the checkpoint of an epoch, the nonce of an account.
//! [`guard`] is called in the transaction that records the intent to sign, so that the check, the promise and the intent are one commit. If
//! that commit fails, nothing was promised and nothing may be signed.

use std::io::{BufRead, Write};

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};
use windlass_store::{Migration, Migrations, Store, Tx, UnixMillis, params};

use crate::KeyError;

/// The table of this module.
pub static MIGRATIONS: Migrations = Migrations {
    component: "keys",
    steps: &[Migration { number: 1, name: "sign_once", sql: include_str!("../migrations/0001_sign_once.sql") }],
};

/// What can be signed only once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// The kind of promise and who makes it, for example `ftso/commit/0xabc…`.
    pub domain: String,
    /// Which one of that kind, for example the number of the voting round.
    pub key: String,
}

/// What the guard found. Both answers allow to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The slot was free and is taken now.
    First,
    /// The same digest was promised before, at this time: signing it again repeats the promise and changes nothing.
    Repeated(UnixMillis),
}

/// Takes `slot` for `digest`, or confirms that it is taken for exactly this digest.
///
/// # Errors
/// [`KeyError::Conflict`] if another digest holds the slot. Nothing must be signed then.
pub async fn guard(tx: &mut Tx<'_>, slot: &Slot, digest: B256, now: UnixMillis) -> Result<Verdict, KeyError> {
    let inserted = tx
        .execute(
            "INSERT INTO sign_once (domain, slot, digest, signed_ms) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (domain, slot) DO NOTHING",
            params![slot.domain.clone(), slot.key.clone(), digest, now],
        )
        .await?;
    if inserted == 1 {
        return Ok(Verdict::First);
    }
    let row = tx
        .query_optional(
            "SELECT digest, signed_ms FROM sign_once WHERE domain = $1 AND slot = $2",
            params![slot.domain.clone(), slot.key.clone()],
        )
        .await?;
    let conflict = |signed| KeyError::Conflict { domain: slot.domain.clone(), slot: slot.key.clone(), signed, asked: digest };
    match row {
        Some(row) => {
            let signed: B256 = row.get("digest")?;
            if signed == digest { Ok(Verdict::Repeated(row.get("signed_ms")?)) } else { Err(conflict(signed)) }
        }
        // Neither inserted nor found: another process took and lost it in between. To refuse is always safe.
        None => Err(conflict(B256::ZERO)),
    }
}

/// One line of an export.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    domain: String,
    slot: String,
    digest: B256,
    signed_ms: i64,
}

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Slots that were free here.
    pub added: u64,
    /// Slots that were taken here for the same digest.
    pub known: u64,
}

/// Writes every promise as one JSON object per line, sorted, for moving to another machine. Returns their number.
pub async fn export(store: &Store, to: &mut (dyn Write + Send)) -> Result<u64, KeyError> {
    let rows = store.query("SELECT domain, slot, digest, signed_ms FROM sign_once ORDER BY domain, slot", params![]).await?;
    let write_error = |source| KeyError::WriteFile { path: "(export)".into(), source };
    let mut written = 0_u64;
    for row in rows {
        let line = Line {
            domain: row.get("domain")?,
            slot: row.get("slot")?,
            digest: row.get("digest")?,
            signed_ms: row.get("signed_ms")?,
        };
        let text = serde_json::to_string(&line).map_err(|error| write_error(error.into()))?;
        writeln!(to, "{text}").map_err(write_error)?;
        written = written.saturating_add(1);
    }
    Ok(written)
}

/// Takes over the promises of another installation: all of them or, at the first conflict or malformed line, none.
pub async fn import(store: &Store, from: &mut (dyn BufRead + Send)) -> Result<ImportReport, KeyError> {
    let mut lines = Vec::new();
    for (number, text) in (1..).zip(from.lines()) {
        let malformed = |reason: String| KeyError::Import { line: number, reason };
        let text = text.map_err(|error| malformed(error.to_string()))?;
        if !text.trim().is_empty() {
            lines.push(serde_json::from_str::<Line>(&text).map_err(|error| malformed(error.to_string()))?);
        }
    }
    store
        .write("sign_once_import", move |tx| {
            Box::pin(async move {
                let mut report = ImportReport::default();
                for Line { domain, slot, digest, signed_ms } in lines {
                    let slot = Slot { domain, key: slot };
                    let counter = match guard(tx, &slot, digest, UnixMillis(signed_ms)).await? {
                        Verdict::First => &mut report.added,
                        Verdict::Repeated(_) => &mut report.known,
                    };
                    *counter = counter.saturating_add(1);
                }
                Ok(report)
            })
        })
        .await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn slot(key: &str) -> Slot {
        Slot { domain: "test".to_owned(), key: key.to_owned() }
    }

    async fn sign(store: &Store, key: &str, digest: u8) -> Result<Verdict, KeyError> {
        let slot = slot(key);
        store
            .write("test", move |tx| {
                Box::pin(async move { guard(tx, &slot, B256::repeat_byte(digest), UnixMillis(i64::from(digest))).await })
            })
            .await
    }

    #[tokio::test]
    async fn a_slot_is_signed_for_one_digest_only() {
        for test in windlass_store::testing::stores().await {
            let store = &test.store;
            store.migrate(&MIGRATIONS).await.unwrap();
            assert_eq!(sign(store, "1", 7).await.unwrap(), Verdict::First);
            assert_eq!(sign(store, "1", 7).await.unwrap(), Verdict::Repeated(UnixMillis(7)));
            let error = sign(store, "1", 8).await.unwrap_err();
            assert!(matches!(error, KeyError::Conflict { signed, asked, .. }
                if signed == B256::repeat_byte(7) && asked == B256::repeat_byte(8)));
            assert_eq!(sign(store, "2", 8).await.unwrap(), Verdict::First);
        }
    }

    #[tokio::test]
    async fn of_many_signers_at_once_one_digest_wins() {
        for test in windlass_store::testing::stores().await {
            let store = &test.store;
            store.migrate(&MIGRATIONS).await.unwrap();
            let asked = (1..=32_u8).map(|digest| sign(store, "contended", digest));
            let answers = futures::future::join_all(asked).await;
            assert_eq!(answers.iter().filter(|answer| matches!(answer, Ok(Verdict::First))).count(), 1);
            assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 31);
        }
    }

    #[tokio::test]
    async fn what_is_exported_binds_the_next_installation() {
        let (old, new) = (windlass_store::testing::stores().await, windlass_store::testing::stores().await);
        for (old, new) in old.iter().zip(&new) {
            let (old, new) = (&old.store, &new.store);
            old.migrate(&MIGRATIONS).await.unwrap();
            new.migrate(&MIGRATIONS).await.unwrap();
            sign(old, "1", 1).await.unwrap();
            sign(old, "2", 2).await.unwrap();
            sign(new, "2", 2).await.unwrap();
            let mut file = Vec::new();
            assert_eq!(export(old, &mut file).await.unwrap(), 2);
            let report = import(new, &mut file.as_slice()).await.unwrap();
            assert_eq!(report, ImportReport { added: 1, known: 1 });
            assert!(sign(new, "1", 9).await.is_err());
        }
    }

    #[tokio::test]
    async fn a_conflicting_or_malformed_import_changes_nothing() {
        for test in windlass_store::testing::stores().await {
            let store = &test.store;
            store.migrate(&MIGRATIONS).await.unwrap();
            sign(store, "2", 2).await.unwrap();
            let line = |slot: &str, digest: u8| {
                format!(r#"{{"domain":"test","slot":"{slot}","digest":"{}","signed_ms":1}}"#, B256::repeat_byte(digest))
            };
            let conflicting = format!("{}\n{}\n", line("1", 1), line("2", 3));
            assert!(matches!(import(store, &mut conflicting.as_bytes()).await, Err(KeyError::Conflict { .. })));
            assert_eq!(sign(store, "1", 5).await.unwrap(), Verdict::First, "the first line was taken back");
            let malformed = format!("{}\nnonsense\n", line("3", 1));
            assert!(matches!(import(store, &mut malformed.as_bytes()).await, Err(KeyError::Import { line: 2, .. })));
        }
    }
}
