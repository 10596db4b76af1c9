//! The one signal that ends things: set once, seen by every clone, inherited by children.

use tokio_util::sync::CancellationToken;

/// A cheap handle on a request to stop. It can be set, never unset.
#[derive(Debug, Clone, Default)]
pub struct Stop(CancellationToken);

impl Stop {
    /// A signal that is not set.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// Asks everything that holds a clone or a child to stop.
    pub fn set(&self) {
        self.0.cancel();
    }

    /// Whether stopping was asked for.
    pub fn is_set(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until stopping is asked for.
    pub async fn wait(&self) {
        self.0.cancelled().await;
    }

    /// A signal that is set with this one, and can be set alone without touching this one.
    pub fn child(&self) -> Stop {
        Stop(self.0.child_token())
    }
}

#[cfg(test)]
mod tests {
    use super::Stop;

    #[test]
    fn a_child_stops_with_its_parent_but_not_the_other_way_round() {
        let parent = Stop::new();
        let (first, second) = (parent.child(), parent.child());
        first.set();
        assert!(first.is_set() && !parent.is_set() && !second.is_set());
        parent.set();
        assert!(second.is_set());
    }
}
