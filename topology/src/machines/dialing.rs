//! Machines that are connected to again and again: when, and after how long.

use std::time::{Duration, Instant};

use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};

use super::MachineAddress;

/// Time between two attempts: doubled from the first to the last.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Machines that were found in the local network, at most: anyone there may announce some.
const MOST_FOUND: usize = 256;

/// How a machine is found.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// By what was written.
    Named(MachineAddress),
    /// By what a machine said of itself in the local network.
    Found(Multiaddr),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// To be dialled at this time.
    Waiting(Instant),
    /// Its name is looked up.
    LookedUp,
    Dialled(ConnectionId),
    Connected(PeerId),
}

#[derive(Debug)]
struct Machine {
    place: Place,
    state: State,
    wait: Duration,
}

/// The machines that are dialled.
#[derive(Debug, Default)]
pub(super) struct Dialing(Vec<Machine>);

impl Dialing {
    /// Adds a machine, to be dialled at once; none beyond [`MOST_FOUND`] that were found.
    pub fn add(&mut self, place: Place) {
        let known = |machine: &Machine| matches!((&machine.place, &place), (Place::Found(one), Place::Found(other)) if one == other);
        let found = |machine: &&Machine| matches!(machine.place, Place::Found(_));
        if matches!(place, Place::Found(_)) && self.0.iter().filter(found).count() >= MOST_FOUND {
            return;
        }
        if !self.0.iter().any(known) {
            self.0.push(Machine { place, state: State::Waiting(Instant::now()), wait: FIRST_WAIT });
        }
    }

    /// Machines whose time has come; each is then looked up.
    pub fn due(&mut self, now: Instant) -> Vec<(usize, Place)> {
        let due = self.0.iter_mut().enumerate();
        let due = due.filter(|(_, machine)| matches!(machine.state, State::Waiting(until) if until <= now));
        due.map(|(index, machine)| {
            machine.state = State::LookedUp;
            (index, machine.place.clone())
        })
        .collect()
    }

    /// Machine `index` is dialled.
    pub fn dialled(&mut self, index: usize, connection: ConnectionId) {
        self.0[index].state = State::Dialled(connection);
    }

    /// Machine `index` cannot be dialled now.
    pub fn postpone(&mut self, index: usize, now: Instant) {
        let machine = &mut self.0[index];
        machine.state = State::Waiting(now + machine.wait);
        machine.wait = (machine.wait * 2).min(LONGEST_WAIT);
    }

    /// The index of the machine that a connection was to come about with; `None` for other connections.
    pub fn of(&self, connection: ConnectionId) -> Option<usize> {
        self.0.iter().position(|machine| machine.state == State::Dialled(connection))
    }

    /// A connection came about; how people write the machine, where it was dialled by name.
    pub fn connected(&mut self, connection: ConnectionId, peer: PeerId) -> Option<String> {
        let index = self.of(connection)?;
        let machine = &mut self.0[index];
        (machine.state, machine.wait) = (State::Connected(peer), FIRST_WAIT);
        match &machine.place {
            Place::Named(address) => Some(address.to_string()),
            Place::Found(_) => None,
        }
    }

    /// The last connection with `peer` has ended: where it was dialled, it is again.
    pub fn disconnected(&mut self, peer: PeerId, now: Instant) {
        let gone: Vec<usize> =
            (0..self.0.len()).filter(|index| self.0[*index].state == State::Connected(peer)).collect();
        gone.into_iter().for_each(|index| self.postpone(index, now));
    }

    /// How people write machine `index`, where it was named.
    pub fn name(&self, index: usize) -> Option<String> {
        match &self.0[index].place {
            Place::Named(address) => Some(address.to_string()),
            Place::Found(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_dialled_until_it_is_there_and_again_when_it_is_gone() {
        let mut dialing = Dialing::default();
        dialing.add(Place::Named("box:1".parse().expect("an address")));
        let now = Instant::now() + Duration::from_secs(1);
        let mut waits = Vec::new();
        for _ in 0..6 {
            assert_eq!(dialing.due(now + LONGEST_WAIT * 10).len(), 1);
            assert!(dialing.due(now + LONGEST_WAIT * 10).is_empty(), "one attempt at a time");
            let connection = ConnectionId::new_unchecked(7);
            dialing.dialled(0, connection);
            assert_eq!(dialing.of(connection), Some(0));
            dialing.postpone(0, now);
            let State::Waiting(until) = dialing.0[0].state else { unreachable!("it was postponed") };
            waits.push((until - now).as_millis());
        }
        assert_eq!(waits, [500, 1000, 2000, 4000, 5000, 5000]);
        let (peer, connection) = (PeerId::random(), ConnectionId::new_unchecked(8));
        assert_eq!(dialing.due(now + LONGEST_WAIT).len(), 1);
        dialing.dialled(0, connection);
        assert_eq!(dialing.connected(connection, peer).as_deref(), Some("box:1"));
        assert!(dialing.due(now + LONGEST_WAIT).is_empty());
        dialing.disconnected(peer, now);
        assert_eq!(dialing.due(now + FIRST_WAIT).len(), 1);
    }
}
