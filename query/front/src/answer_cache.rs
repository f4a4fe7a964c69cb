//! Answers by name, kept for a moment because every open page polls them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Mutex as AsyncMutex;

/// Answers that are kept at most, unless said otherwise.
const MAX_ANSWERS: usize = 512;
/// How long an answer that is too old is given while somebody else's request makes the next one.
const MAX_OVERDUE: Duration = Duration::from_secs(10);

/// The newest answer of each name, and when it was made.
pub(crate) struct AnswerCache<T> {
    max_age: Duration,
    capacity: usize,
    slots: Mutex<HashMap<String, Arc<Slot<T>>>>,
}

/// The answer of one name.
struct Slot<T> {
    kept: Mutex<Option<(Instant, T)>>,
    /// Held by the request that makes the next answer.
    making: AsyncMutex<()>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            making: AsyncMutex::default(),
        }
    }
}

impl<T: Clone> Slot<T> {
    /// The answer if it is at most so old.
    fn get(&self, max_age: Duration) -> Option<T> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (made, answer) = kept.as_ref()?;
        (made.elapsed() < max_age).then(|| answer.clone())
    }

    fn set(&self, answer: T) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some((Instant::now(), answer));
    }

    fn is_of_use(&self, max_age: Duration) -> bool {
        self.making.try_lock().is_err() || self.get(max_age).is_some()
    }
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
    /// get the one before, and wait where there is none or it is [`MAX_OVERDUE`].
    pub(crate) async fn get<E>(
        &self,
        name: String,
        make: impl AsyncFnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let slot = self.slot(name);
        if let Some(answer) = slot.get(self.max_age) {
            return Ok(answer);
        }
        let _making = match slot.making.try_lock() {
            Ok(making) => making,
            Err(_) => match slot.get(self.max_age + MAX_OVERDUE) {
                Some(answer) => return Ok(answer),
                None => slot.making.lock().await,
            },
        };
        // Made by whoever was before in the line.
        if let Some(answer) = slot.get(self.max_age) {
            return Ok(answer);
        }
        let answer = make().await?;
        slot.set(answer.clone());
        Ok(answer)
    }

    /// The slot of a name. With each new name those go that are old and that nobody makes anew;
    /// one that finds no place then is forgotten at once.
    fn slot(&self, name: String) -> Arc<Slot<T>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if !slots.contains_key(&name) {
            slots.retain(|_, slot| slot.is_of_use(self.max_age));
        }
        if slots.len() >= self.capacity && !slots.contains_key(&name) {
            return Arc::default();
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
    async fn the_answer_before_is_given_while_the_next_is_made() {
        let kept = Arc::new(AnswerCache::new(Duration::ZERO));
        let first = kept.get("a".to_owned(), async || Ok::<_, ()>(1)).await;
        assert_eq!(first, Ok(1));
        let (let_go, wait) = tokio::sync::oneshot::channel::<()>();
        let (begun, has_begun) = tokio::sync::oneshot::channel::<()>();
        let slow = kept.clone();
        let slow = tokio::spawn(async move {
            let make = async || {
                begun.send(()).unwrap();
                wait.await.map_err(|_| ())?;
                Ok::<_, ()>(2)
            };
            slow.get("a".to_owned(), make).await
        });
        has_begun.await.unwrap();
        for _ in 0..3 {
            let meanwhile = kept.get("a".to_owned(), async || Ok::<_, ()>(9)).await;
            assert_eq!(meanwhile, Ok(1));
        }
        let_go.send(()).unwrap();
        assert_eq!(slow.await.unwrap(), Ok(2));
        // A request that goes away while it makes an answer does not leave the name without.
        let (begun, has_begun) = tokio::sync::oneshot::channel::<()>();
        let gone = kept.clone();
        let gone = tokio::spawn(async move {
            let make = async || {
                begun.send(()).unwrap();
                std::future::pending::<Result<i32, ()>>().await
            };
            gone.get("a".to_owned(), make).await
        });
        has_begun.await.unwrap();
        gone.abort();
        assert!(gone.await.is_err());
        let next = kept.get("a".to_owned(), async || Ok::<_, ()>(3)).await;
        assert_eq!(next, Ok(3));
    }

    #[tokio::test]
    async fn names_do_not_grow_without_bound() {
        let kept = AnswerCache::new(Duration::from_secs(3_600));
        for n in 0..2 * MAX_ANSWERS {
            let answer = kept.get(n.to_string(), async || Ok::<_, ()>(n)).await;
            assert_eq!(answer, Ok(n));
        }
        assert_eq!(kept.slots.lock().unwrap().len(), MAX_ANSWERS);
        let old = AnswerCache::new(Duration::ZERO);
        for n in 0..2 * MAX_ANSWERS {
            let _ = old.get(n.to_string(), async || Ok::<_, ()>(n)).await;
        }
        assert_eq!(
            old.slots.lock().unwrap().len(),
            1,
            "what is old goes at once"
        );
        let small = AnswerCache::new(Duration::from_secs(3_600)).with_capacity(3);
        for n in 0..9 {
            let _ = small.get(n.to_string(), async || Ok::<_, ()>(n)).await;
        }
        assert_eq!(small.slots.lock().unwrap().len(), 3);
    }
}
