//! Reader's queue: what leaves a song for a reader outside of it, at the reader's pace while the song goes on.
//!
//! The queue has places, and a full one holds back the song. Once the places are opened nothing waits any more: what was
//! made before a song was cancelled can still be read, and no stage depends on a reader that has stopped.

use std::sync::Arc;

use tokio::sync::{
    OwnedSemaphorePermit, Semaphore,
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

use crate::channel::Outlet;

/// An item with its place, which is free when the item is taken out or dropped.
#[derive(Debug)]
pub struct QueuedItem<T> {
    item: T,
    _place: Option<OwnedSemaphorePermit>,
}

impl<T> QueuedItem<T> {
    /// Takes the item out.
    pub fn take(self) -> T {
        self.item
    }
}

/// The song's end of the queue.
pub struct ToReader<T> {
    items: UnboundedSender<QueuedItem<T>>,
    places: ReaderPlaces,
}

/// The places of a queue.
#[derive(Debug, Clone)]
pub struct ReaderPlaces(Arc<Semaphore>);

impl ReaderPlaces {
    /// Opens the queue: from now on nothing waits for a place. What comes is bounded by what the song has in hand.
    pub fn open(&self) {
        self.0.close();
    }
}

/// A queue with `places` places.
pub fn reader_queue<T>(places: usize) -> (ToReader<T>, ReaderPlaces, UnboundedReceiver<QueuedItem<T>>) {
    let (items, reader) = unbounded_channel();
    let places = ReaderPlaces(Arc::new(Semaphore::new(places)));
    (ToReader { items, places: places.clone() }, places, reader)
}

impl<T: Send + 'static> Outlet for ToReader<T> {
    type Item = T;

    async fn give(&mut self, item: T) -> bool {
        // A reader that is dropped drops what is in the queue, so its places become free and this ends.
        let place = Arc::clone(&self.places.0).acquire_owned().await.ok();
        self.items.send(QueuedItem { item, _place: place }).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::pin, task::Context};

    use super::*;

    fn is_ready(future: impl Future<Output = bool>) -> Option<bool> {
        match pin!(future).poll(&mut Context::from_waker(std::task::Waker::noop())) {
            std::task::Poll::Ready(given) => Some(given),
            std::task::Poll::Pending => None,
        }
    }

    #[test]
    fn a_full_queue_waits_for_its_reader_until_it_is_opened_and_loses_nothing() {
        let (mut queue, places, mut reader) = reader_queue(2);
        assert_eq!(
            [is_ready(queue.give(1)), is_ready(queue.give(2)), is_ready(queue.give(3))],
            [Some(true), Some(true), None]
        );
        assert_eq!(reader.try_recv().map(QueuedItem::take), Ok(1));
        assert_eq!([is_ready(queue.give(3)), is_ready(queue.give(4))], [Some(true), None]);
        places.open();
        assert_eq!(is_ready(queue.give(4)), Some(true));
        drop(queue);
        let rest: Vec<i32> = std::iter::from_fn(|| reader.try_recv().ok().map(QueuedItem::take)).collect();
        assert_eq!(rest, [2, 3, 4]);
    }

    #[tokio::test]
    async fn a_reader_that_is_dropped_ends_what_waits_for_a_place() {
        let (mut queue, _, reader) = reader_queue(1);
        assert!(queue.give(1).await);
        let waiting = tokio::spawn(async move { queue.give(2).await });
        tokio::task::yield_now().await;
        drop(reader);
        assert!(!waiting.await.unwrap());
    }
}
