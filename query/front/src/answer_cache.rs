//! Answers by name, kept for a moment because every open page polls them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

/// Answers that are kept at most, unless said otherwise.
const MAX_ANSWERS: usize = 512;

type Slot<T> = Arc<Mutex<Option<(Instant, T)>>>;

/// The newest answer of each name, and when it was made.
pub(crate) struct AnswerCache<T> {
    max_age: Duration,
    capacity: usize,
    slots: Mutex<HashMap<String, Slot<T>>>,
}

impl<T: Clone> AnswerCache<T> {
    /// Keeps answers as long as this.
    pub(crate) fn new(max_age: Duration) -> Self {
        Self {
            max_age,
            capacity: MAX_ANSWERS,
            slots: Mutex::default(),
        }
    }

    /// Keeps so many answers at most.
    pub(crate) fn with_capacity(self, capacity: usize) -> Self {
        Self { capacity, ..self }
    }

    /// The answer of this name, made anew when it is too old. Callers that come while it is made
    /// wait for it.
    pub(crate) async fn get<E>(
        &self,
        name: String,
        make: impl AsyncFnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let slot = self.slot(name).await;
        let mut kept = slot.lock().await;
        if let Some((made, answer)) = kept.as_ref()
            && made.elapsed() < self.max_age
        {
            return Ok(answer.clone());
        }
        let answer = make().await?;
        *kept = Some((Instant::now(), answer.clone()));
        Ok(answer)
    }

    /// The slot of a name. With each new name those go that are old and that nobody waits for; one
    /// that finds no place then is forgotten at once.
    async fn slot(&self, name: String) -> Slot<T> {
        let mut slots = self.slots.lock().await;
        if !slots.contains_key(&name) {
            let is_fresh = |slot: &mut Slot<T>| match slot.try_lock() {
                Ok(kept) => kept
                    .as_ref()
                    .is_some_and(|(made, _)| made.elapsed() < self.max_age),
                Err(_) => true,
            };
            slots.retain(|_, slot| is_fresh(slot));
        }
        if slots.len() >= self.capacity && !slots.contains_key(&name) {
            return Slot::default();
        }
        slots.entry(name).or_default().clone()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn an_answer_is_made_once_until_it_is_old_and_names_are_apart() {
        let kept = AnswerCache::new(Duration::from_secs(3_600));
        let get = async |cache: &AnswerCache<u32>, name: &str, made: u32| {
            let answer = cache.get(name.to_owned(), async || Ok::<_, ()>(made)).await;
            answer.unwrap()
        };
        assert_eq!(get(&kept, "a", 1).await, 1);
        assert_eq!(get(&kept, "a", 2).await, 1);
        assert_eq!(get(&kept, "b", 3).await, 3);
        let none = AnswerCache::new(Duration::ZERO);
        assert_eq!(get(&none, "a", 1).await, 1);
        assert_eq!(get(&none, "a", 2).await, 2);
        // An error is not kept.
        let failed = kept.get("c".to_owned(), async || Err::<u32, u32>(7)).await;
        assert_eq!(failed, Err(7));
        assert_eq!(get(&kept, "c", 4).await, 4);
    }

    #[tokio::test]
    async fn names_do_not_grow_without_bound() {
        let kept = AnswerCache::new(Duration::from_secs(3_600));
        for n in 0..2 * MAX_ANSWERS {
            let answer = kept.get(n.to_string(), async || Ok::<_, ()>(n)).await;
            assert_eq!(answer, Ok(n));
        }
        assert_eq!(kept.slots.lock().await.len(), MAX_ANSWERS);
        let old = AnswerCache::new(Duration::ZERO);
        for n in 0..2 * MAX_ANSWERS {
            let _ = old.get(n.to_string(), async || Ok::<_, ()>(n)).await;
        }
        assert_eq!(old.slots.lock().await.len(), 1, "what is old goes at once");
        let small = AnswerCache::new(Duration::from_secs(3_600)).with_capacity(3);
        for n in 0..9 {
            let _ = small.get(n.to_string(), async || Ok::<_, ()>(n)).await;
        }
        assert_eq!(small.slots.lock().await.len(), 3);
    }
}
