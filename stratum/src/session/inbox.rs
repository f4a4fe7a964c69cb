//! Where finished shares wait for their connection: as small as can be, because every connection
//! has one and most are empty.
//!
//! How many may come is bounded by the shares in flight, which the session counts. A channel would
//! keep space for 32 of them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// One connection's.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    waiting: Mutex<VecDeque<T>>,
    wakeup: Notify,
}

impl<T> Inbox<T> {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self {
            waiting: Mutex::new(VecDeque::new()),
            wakeup: Notify::new(),
        }
    }

    /// Puts something in.
    pub(crate) fn put(&self, item: T) {
        self.waiting().push_back(item);
        self.wakeup.notify_one();
    }

    /// The oldest, as soon as there is one. For one reader; dropping the future loses nothing.
    pub(crate) async fn next(&self) -> T {
        loop {
            if let Some(item) = self.take() {
                return item;
            }
            self.wakeup.notified().await;
        }
    }

    fn take(&self) -> Option<T> {
        let mut waiting = self.waiting();
        let item = waiting.pop_front();
        if waiting.is_empty() {
            *waiting = VecDeque::new();
        }
        item
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn what_is_put_in_comes_out_in_order_and_none_is_lost() {
        let inbox = Arc::new(Inbox::new());
        inbox.put(1);
        inbox.put(2);
        let other = inbox.clone();
        assert_eq!((inbox.next().await, inbox.next().await), (1, 2));
        let push = tokio::spawn(async move {
            tokio::task::yield_now().await;
            (3..100).for_each(|number| other.put(number));
        });
        for number in 3..100 {
            assert_eq!(inbox.next().await, number);
        }
        push.await.unwrap_or_default();
        assert_eq!(inbox.waiting().capacity(), 0);
    }
}
