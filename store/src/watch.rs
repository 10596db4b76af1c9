//! The stream of changes a reader follows.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::stream::BoxStream;

use crate::{Change, StoreError};

/// Changes in revision order, one batch per revision; its one error is its last item.
pub struct Watch(BoxStream<'static, Result<Vec<Change>, StoreError>>);

impl Watch {
    /// Boxes what a backend made.
    pub(crate) fn new(
        changes: impl Stream<Item = Result<Vec<Change>, StoreError>> + Send + 'static,
    ) -> Self {
        Self(Box::pin(changes))
    }
}

impl Stream for Watch {
    type Item = Result<Vec<Change>, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(context)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Watch")
    }
}
