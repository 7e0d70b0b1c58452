//! Carrying out one attempt of an action: do it, then verify that the target really is in the wanted state.
//!
//! An attempt first looks: a target that already is as wanted is left alone, so that repeating an attempt after a crash
//! does nothing twice. Afterwards it looks again until the target is as wanted and stays so for the settling time; a
//! target that is stopped and comes straight back by a restart policy is therefore a failure, not a success.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::machine::{ActionKind, ActionOutcome};
use crate::ports::{Target, TargetError};

/// Time limits of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For telling the target.
    pub act: Duration,
    /// For reaching the wanted state afterwards.
    pub verify: Duration,
    /// Between two looks.
    pub look_every: Duration,
    /// For how long it must stay in the wanted state.
    pub settle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            act: Duration::from_secs(60),
            verify: Duration::from_secs(60),
            look_every: Duration::from_millis(500),
            settle: Duration::from_secs(2),
        }
    }
}

/// Carries out one attempt and says how it ended. With `dry_run` nothing is touched.
pub async fn carry_out(target: &dyn Target, kind: ActionKind, limits: Limits, dry_run: bool) -> ActionOutcome {
    if dry_run {
        let plan = match kind {
            ActionKind::Stop => target.plan_stop(),
            ActionKind::Resume => target.plan_start().unwrap_or_else(|| "nothing: it cannot be started".into()),
        };
        return ActionOutcome::Verified { detail: format!("dry run, nothing was done: would {plan}") };
    }
    match attempt(target, kind, limits).await {
        Ok(detail) => ActionOutcome::Verified { detail },
        Err(error) => ActionOutcome::Failed { detail: error.report() },
    }
}

async fn attempt(target: &dyn Target, kind: ActionKind, limits: Limits) -> Result<String, TargetError> {
    let (wanted, word) = match kind {
        ActionKind::Stop => (false, "stop"),
        ActionKind::Resume => (true, "start"),
    };
    if look(target, limits).await.ok().flatten() == Some(wanted) && settled(target, wanted, limits).await? {
        return Ok(format!("{} already was in the wanted state", target.describe()));
    }
    let told = timeout(limits.act, async {
        match kind {
            ActionKind::Stop => target.stop().await,
            ActionKind::Resume => target.start().await,
        }
    })
    .await
    .unwrap_or_else(|_| Err(TargetError::TimedOut { place: target.describe(), seconds: limits.act.as_secs() }));
    // The state counts, not the answer: an answer may be lost, and a "success" may have done nothing.
    let deadline = Instant::now() + if told.is_ok() { limits.verify } else { limits.look_every };
    loop {
        match look(target, limits).await {
            Ok(None) => return told.map(|()| format!("{word} reported success; it cannot be looked at")),
            Ok(Some(running)) if running == wanted && settled(target, wanted, limits).await? => {
                return Ok(format!("{} was seen to {word}", target.describe()));
            }
            Ok(_) | Err(_) if Instant::now() < deadline => sleep(limits.look_every).await,
            Ok(_) => {
                told?;
                return Err(TargetError::NotVerified {
                    target: target.describe(),
                    wanted: word,
                    seconds: limits.verify.as_secs(),
                });
            }
            Err(error) => {
                told?;
                return Err(error);
            }
        }
    }
}

async fn settled(target: &dyn Target, wanted: bool, limits: Limits) -> Result<bool, TargetError> {
    if limits.settle.is_zero() {
        return Ok(true);
    }
    sleep(limits.settle).await;
    Ok(look(target, limits).await? == Some(wanted))
}

async fn look(target: &dyn Target, limits: Limits) -> Result<Option<bool>, TargetError> {
    let limit = limits.act.min(Duration::from_secs(10));
    timeout(limit, target.running())
        .await
        .unwrap_or_else(|_| Err(TargetError::TimedOut { place: target.describe(), seconds: limit.as_secs() }))
}
