//! A value that one task of a shard promises to another of the same shard.
//!
//! Not for other threads: nothing here is atomic, and neither half is `Send`.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

enum State<T> {
    Open(Option<Waker>),
    Kept(T),
    Broken,
}

/// The half that will give the value. Dropping it breaks the promise.
pub(crate) struct Promise<T>(Rc<RefCell<State<T>>>);

/// The half that waits: the value, or `None` if the promise was broken.
pub(crate) struct Answer<T>(Rc<RefCell<State<T>>>);

/// Makes the two halves.
pub(crate) fn promise<T>() -> (Promise<T>, Answer<T>) {
    let shared = Rc::new(RefCell::new(State::Open(None)));
    (Promise(Rc::clone(&shared)), Answer(shared))
}

impl<T> Promise<T> {
    /// Gives the value.
    pub(crate) fn keep(self, value: T) {
        self.settle(State::Kept(value));
    }

    fn settle(&self, state: State<T>) {
        let before = self.0.replace(state);
        if let State::Open(Some(waker)) = before {
            waker.wake();
        }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        if matches!(*self.0.borrow(), State::Open(_)) {
            self.settle(State::Broken);
        }
    }
}

impl<T> Future for Answer<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.0.borrow_mut();
        match &mut *state {
            State::Open(waker) => {
                match waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    None => *waker = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
            State::Broken => Poll::Ready(None),
            State::Kept(_) => match std::mem::replace(&mut *state, State::Broken) {
                State::Kept(value) => Poll::Ready(Some(value)),
                _ => unreachable!("the state was just matched as kept"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_once};

    #[test]
    fn an_answer_is_the_value_or_the_news_that_there_is_none() {
        let (promise, mut answer) = super::promise();
        assert!(block_on(poll_once(&mut answer)).is_none());
        promise.keep(7);
        assert_eq!(block_on(answer), Some(7));

        let (promise, answer) = super::promise::<u8>();
        drop(promise);
        assert_eq!(block_on(answer), None);
    }
}
