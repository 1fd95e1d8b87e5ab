//! A device made of memory: the test is its crystal, its cable and its owner.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread::{JoinHandle, spawn, yield_now},
};

use heartstream_actors::{
    sample_ring::Playback,
    speaker_sink::{DeviceNews, OpenStream, OutputDevice, Speaker, SpeakerError},
};

/// The test's end of the device.
#[derive(Clone)]
pub struct FakeDevice(Arc<Mutex<Inside>>);

struct Inside {
    /// What it is each time it is looked for, in turn; the last one stays.
    offers: VecDeque<Offer>,
    open: Option<(Playback, DeviceNews)>,
    times_opened: usize,
}

/// What happens when the device is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// It is there, with this rate.
    Rate(u32),
    /// It is not there.
    Away,
    /// It is there but does not open.
    Stuck,
}

impl FakeDevice {
    pub fn new(offers: impl IntoIterator<Item = Offer>) -> Self {
        Self(Arc::new(Mutex::new(Inside { offers: offers.into_iter().collect(), open: None, times_opened: 0 })))
    }

    pub fn speaker(&self) -> Speaker {
        Speaker::on(self.clone())
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().expect("no test panics while it holds the device")
    }

    pub fn times_opened(&self) -> usize {
        self.inside().times_opened
    }

    /// Plays `frames` frames into a stereo buffer of floats; `None` while the device is not open.
    pub fn pull(&self, frames: usize) -> Option<Vec<f32>> {
        let mut inside = self.inside();
        let (playback, _) = inside.open.as_mut()?;
        let mut buffer = vec![9.0; frames * 2];
        playback.fill(&mut buffer, 2);
        Some(buffer)
    }

    /// Pulls the cable.
    pub fn lose(&self) {
        if let Some((_, news)) = &self.inside().open {
            news.lost();
        }
    }

    /// Plays on a thread of its own until it is told to stop. `listen` is given what was played, a piece at a time,
    /// without the silence for want of music.
    pub fn play(&self, frames: usize, mut listen: impl FnMut(&FakeDevice, &[f32]) + Send + 'static) -> Playing {
        let (device, stop) = (self.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                if let Some(buffer) = device.pull(frames) {
                    let end = buffer.iter().rposition(|sample| *sample != 0.0).map_or(0, |last| (last / 2 + 1) * 2);
                    listen(&device, &buffer[..end]);
                }
                yield_now();
            }
        });
        Playing { stop, thread }
    }
}

/// A device that plays on a thread of its own.
pub struct Playing {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Playing {
    /// Stops, and waits until it has.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("what was heard was right");
    }
}

/// Closes the device when the sink drops it.
struct Opened(FakeDevice);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.inside().open = None;
    }
}

impl OutputDevice for FakeDevice {
    fn name(&self) -> String {
        "fake".to_owned()
    }

    fn connect(&mut self) -> Result<u32, SpeakerError> {
        let offer = self.inside().offers.front().copied();
        match offer {
            Some(Offer::Rate(rate)) => Ok(rate),
            Some(Offer::Stuck) => Ok(48_000),
            _ => {
                self.next_offer();
                Err(SpeakerError::NoDevice)
            }
        }
    }

    fn open(&mut self, playback: Playback, news: DeviceNews) -> Result<OpenStream, SpeakerError> {
        let stuck = self.inside().offers.front() == Some(&Offer::Stuck);
        self.next_offer();
        if stuck {
            return Err(SpeakerError::Open("stuck".to_owned()));
        }
        let mut inside = self.inside();
        inside.open = Some((playback, news));
        inside.times_opened += 1;
        Ok(Box::new(Opened(self.clone())))
    }
}

impl FakeDevice {
    fn next_offer(&self) {
        let mut inside = self.inside();
        if inside.offers.len() > 1 {
            inside.offers.pop_front();
        }
    }
}
