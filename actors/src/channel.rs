//! Channels between stages: bounded flume channels, in the few arrangements of the pipeline.
//!
//! A stream ends when its last sender is dropped, and a stage ends when its receivers are dropped: there is no other
//! signal. So wiring moves both ends into the actors and keeps none.

use flume::{Receiver, Sender};

use crate::song_context::StopFlag;

/// Where a stage's inputs come from.
pub trait Inlet: Send + 'static {
    /// One input.
    type Item: Send;

    /// Whether nothing is done for the stage while it waits here.
    fn waits_idle(&self) -> bool {
        true
    }

    /// The next input; `None` when there will be no more. May be dropped while it waits without losing an input.
    fn take(&mut self) -> impl Future<Output = Option<Self::Item>> + Send;
}

/// Where a stage's outputs go.
pub trait Outlet: Send + 'static {
    /// One output.
    type Item: Send;

    /// Waits for room (backpressure) and sends; false when the receiver is gone.
    fn give(&mut self, item: Self::Item) -> impl Future<Output = bool> + Send;
}

impl<T: Send + 'static> Inlet for Receiver<T> {
    type Item = T;

    async fn take(&mut self) -> Option<T> {
        self.recv_async().await.ok()
    }
}

impl<T: Send + 'static> Outlet for Sender<T> {
    type Item = T;

    async fn give(&mut self, item: T) -> bool {
        self.send_async(item).await.is_ok()
    }
}

/// Restores the order of parallel results: a place is reserved, as a channel for one result, before the work
/// begins, and the places are waited for in the order in which they were reserved.
pub struct InOrder<T> {
    places: Receiver<Receiver<T>>,
    /// The place that is waited for; kept here so that waiting is cancellation-safe.
    current: Option<Receiver<T>>,
    stop: StopFlag,
}

impl<T> InOrder<T> {
    /// Takes the results of `places` in turn. A place that is given up sets the flag `stop` of the song.
    pub fn new(places: Receiver<Receiver<T>>, stop: StopFlag) -> Self {
        Self { places, current: None, stop }
    }
}

impl<T: Send + 'static> Inlet for InOrder<T> {
    type Item = T;

    async fn take(&mut self) -> Option<T> {
        let place = match &mut self.current {
            Some(place) => place,
            none => none.insert(self.places.recv_async().await.ok()?),
        };
        let Ok(result) = place.recv_async().await else {
            // A place that was given up ends the stream: the worker behind it failed, and with it the song. The worker
            // drops its task before it sets the flag, and later stages must not take this for the end of the song.
            self.stop.set();
            return None;
        };
        self.current = None;
        Some(result)
    }
}

/// Sends every output to several receivers; backpressure comes from the slowest. A receiver that is dropped ends the
/// stream.
pub struct ToAll<T>(pub Vec<Sender<T>>);

impl<T: Clone + Send + 'static> Outlet for ToAll<T> {
    type Item = T;

    async fn give(&mut self, item: T) -> bool {
        for taker in &self.0 {
            if taker.send_async(item.clone()).await.is_err() {
                return false;
            }
        }
        true
    }
}

/// The outlet of a stage that makes nothing: the end of the pipeline.
pub struct Nowhere;

impl Outlet for Nowhere {
    type Item = std::convert::Infallible;

    async fn give(&mut self, item: Self::Item) -> bool {
        match item {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn results_come_in_the_order_of_their_places_whenever_they_are_ready() {
        let (reserve, places) = flume::bounded(3);
        let mut inlet = InOrder::new(places, StopFlag::default());
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let (give, place) = flume::bounded(1);
                reserve.send(place).expect("room for three");
                give
            })
            .collect();
        drop(reserve);
        for index in [2, 0, 1] {
            workers[index].send(index).expect("a place");
        }
        for expected in 0..3 {
            assert_eq!(inlet.take().await, Some(expected));
        }
        assert_eq!(inlet.take().await, None);
    }

    #[tokio::test]
    async fn a_place_given_up_ends_the_stream_and_stops_the_song() {
        let (reserve, places) = flume::bounded(1);
        let (give, place) = flume::bounded::<u8>(1);
        reserve.send(place).expect("room for one");
        drop(give);
        let stop = StopFlag::default();
        assert_eq!(InOrder::new(places, stop.clone()).take().await, None);
        assert!(stop.is_set());
    }

    #[tokio::test]
    async fn waiting_for_a_place_can_be_interrupted_without_losing_it() {
        let (reserve, places) = flume::bounded(1);
        let (give, place) = flume::bounded(1);
        reserve.send(place).expect("room for one");
        let mut inlet = InOrder::new(places, StopFlag::default());
        tokio::select! {
            biased;
            _ = inlet.take() => unreachable!("nothing was given yet"),
            () = std::future::ready(()) => (),
        }
        give.send(7).expect("the place is still waited for");
        assert_eq!(inlet.take().await, Some(7));
    }
}
