//! Wire between network namespaces: packets are late, some are lost, and a host can be cut off.
//!
//! The kernel's `netem` does the same where it is built; this needs no more than TUN devices. Each host has one. What it
//! sends is read here, and written to the device of the host that it is for, `DELAY` later.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use tun_rs::SyncDevice;

/// Time of a packet from one host to another; an answer takes as long again.
pub const DELAY: Duration = Duration::from_millis(20);
/// One packet of this number is lost.
const LOSS: u64 = 100;
/// Longest packet; the devices have a smaller MTU.
const MOST_BYTES: usize = 2048;

/// A packet, and when it arrives.
type Late = (Instant, Vec<u8>);

/// The wire between hosts 1, 2, 3, … of one network, whose addresses end in these numbers.
pub struct Wire {
    cut: Arc<Vec<AtomicBool>>,
    /// Packets that were delivered, and lost.
    pub counts: Arc<[AtomicU64; 2]>,
}

impl Wire {
    /// Begins to carry packets between `devices`.
    pub fn between(devices: Vec<SyncDevice>) -> Self {
        let devices: Vec<Arc<SyncDevice>> = devices.into_iter().map(Arc::new).collect();
        let cut: Arc<Vec<AtomicBool>> = Arc::new(devices.iter().map(|_| AtomicBool::new(false)).collect());
        let counts: Arc<[AtomicU64; 2]> = Arc::default();
        let mut ways = Vec::new();
        for device in &devices {
            let (give, late) = channel::<Late>();
            ways.push(give);
            let device = Arc::clone(device);
            thread::spawn(move || deliver(&device, &late));
        }
        for (host, device) in devices.into_iter().enumerate() {
            let (ways, cut, counts) = (ways.clone(), Arc::clone(&cut), Arc::clone(&counts));
            thread::spawn(move || carry(host, &device, &ways, &cut, &counts));
        }
        Self { cut, counts }
    }

    /// Cuts a host off, or connects it again.
    pub fn cut(&self, host: usize, off: bool) {
        self.cut[host].store(off, Ordering::Relaxed);
    }
}

/// Reads what a host sends, until its device is gone.
fn carry(host: usize, device: &SyncDevice, ways: &[Sender<Late>], cut: &[AtomicBool], counts: &[AtomicU64; 2]) {
    let mut noise = 0x9E37_79B9_7F4A_7C15_u64.wrapping_add(host as u64); // xorshift64 (Marsaglia 2003): any seed but 0
    let mut buffer = [0; MOST_BYTES];
    while let Ok(bytes) = device.recv(&mut buffer) {
        let packet = &buffer[..bytes];
        // IPv4, and the last byte of the address that it is for (RFC 791).
        let to = (bytes >= 20 && packet[0] >> 4 == 4).then(|| usize::from(packet[19]).wrapping_sub(1));
        let Some((to, way)) = to.and_then(|to| Some((to, ways.get(to)?))) else { continue };
        for shift in [13_i32, -7, 17] {
            noise ^= if shift > 0 { noise << shift } else { noise >> -shift };
        }
        let is_lost = noise.is_multiple_of(LOSS) || [host, to].iter().any(|end| cut[*end].load(Ordering::Relaxed));
        counts[usize::from(is_lost)].fetch_add(1, Ordering::Relaxed);
        if !is_lost && way.send((Instant::now() + DELAY, packet.to_vec())).is_err() {
            return;
        }
    }
}

/// Writes packets to a host, each when it arrives. All are equally late, so their order is that of their times.
fn deliver(device: &SyncDevice, late: &Receiver<Late>) {
    for (arrives, packet) in late {
        thread::sleep(arrives.saturating_duration_since(Instant::now()));
        if device.send(&packet).is_err() {
            return;
        }
    }
}
