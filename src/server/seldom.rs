//! Waiting beside something that is woken often for something that seldom happens.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use pin_project_lite::pin_project;

pin_project! {
    /// Polls a future only when it has asked for it itself, however often the task is polled for other reasons: a
    /// connection is woken twice with each request, and its timers and signals need not be looked at then.
    pub(super) struct Seldom<F> {
        #[pin]
        inner: F,
        asked: Arc<Asked>,
        waker: Waker,
    }
}

struct Asked {
    asked: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl<F: Future> Seldom<F> {
    pub(super) fn new(inner: F) -> Self {
        let asked = Arc::new(Asked { asked: AtomicBool::new(true), task: Mutex::new(None) });
        Self { inner, waker: Waker::from(Arc::clone(&asked)), asked }
    }
}

impl<F: Future> Future for Seldom<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        // Before the look at `asked`: whoever asks after that look finds this task.
        this.asked.belongs_to(cx.waker());
        if !this.asked.asked.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        this.inner.poll(&mut Context::from_waker(this.waker))
    }
}

impl Asked {
    fn belongs_to(&self, task: &Waker) {
        let mut known = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.as_ref().is_some_and(|known| known.will_wake(task)) {
            *known = Some(task.clone());
        }
    }
}

impl Wake for Asked {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.asked.store(true, Ordering::Release);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn it_is_polled_when_it_asked_and_not_before() {
        let (event, polls) = (Notify::new(), AtomicUsize::new(0));
        let mut notified = pin!(event.notified());
        let mut seldom = pin!(Seldom::new(poll_fn(|cx| {
            polls.fetch_add(1, Ordering::Relaxed);
            notified.as_mut().poll(cx)
        })));
        for turn in 0..5 {
            let polled = poll_fn(|cx| Poll::Ready(seldom.as_mut().poll(cx))).await;
            assert!(polled.is_pending(), "turn {turn}");
        }
        assert_eq!(polls.load(Ordering::Relaxed), 1);
        event.notify_one();
        seldom.await;
        assert_eq!(polls.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn it_wakes_the_task_that_polled_it_last() {
        let (send, receive) = tokio::sync::oneshot::channel();
        let mut seldom = Box::pin(Seldom::new(receive));
        assert!(poll_fn(|cx| Poll::Ready(seldom.as_mut().poll(cx))).await.is_pending(), "in this task");
        let other = tokio::spawn(seldom);
        tokio::task::yield_now().await;
        assert_eq!(send.send(7), Ok(()));
        assert_eq!(other.await.map(Result::ok).ok().flatten(), Some(7));
    }
}
