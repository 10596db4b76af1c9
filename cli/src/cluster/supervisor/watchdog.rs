//! Sees an agent that runs and does nothing any more. It is killed and started again: that costs units nothing, but
//! exclusive ones, which it should have ended when no controller heard it, may start elsewhere half a minute after.

use std::time::Duration;

use super::super::{
    health::{self, Health},
    layout::{Layout, PROGRAMS, Program},
    provision::saved_choices,
};

/// What is watched. Another program that hangs is replaced by its like on other nodes.
const WATCHED: &str = "agent";
/// How often it is asked.
const PERIOD: Duration = Duration::from_secs(1);
/// So many questions without an answer are a program that hangs. Questions are counted and not the time, for it may be
/// this supervisor that was frozen.
const UNANSWERED: u32 = 5;

/// Waits until a program that answered before answers no more, though it runs. Never, for a program that is not watched.
pub async fn hangs(layout: &Layout, program: &str) {
    let watched = PROGRAMS.into_iter().find(|it| it.name == program && it.name == WATCHED);
    let Some(watched) = watched else { return std::future::pending().await };
    let mut unanswered = None;
    while unanswered.is_none_or(|count| count < UNANSWERED) {
        tokio::time::sleep(PERIOD).await;
        unanswered = match answers(layout, watched).await {
            true => Some(0),
            false => unanswered.map(|count: u32| count + 1),
        };
    }
}

/// Whatever it says. Where it listens is read anew each time: that can change.
async fn answers(layout: &Layout, program: Program) -> bool {
    let Ok(Some(choices)) = saved_choices(layout) else { return true };
    let address = choices.admin(program.admin_offset);
    !matches!(health::ask(address, program.health_path()).await, Health::Silent(_))
}
