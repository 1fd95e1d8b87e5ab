//! Offer of a machine: what its agent version says when two machines meet.
//!
//! The `identify` protocol of libp2p has two machines tell each other who they are as soon as they are connected. So an
//! engine knows at once which actors of the other machine decode windows, and which one makes songs.

/// Flow servers of one machine, at most: an engine asks all of them for their proof at once, and a connection carries no
/// more requests than that.
pub(super) const MOST_SERVERS: usize = 16;
/// Songs that one machine makes at once, at most: each is asked for and ended by a request of its own.
pub(super) const MOST_SONGS: usize = MOST_SERVERS / 2;
const PREFIX: &str = concat!("heartstream/", env!("CARGO_PKG_VERSION"));

/// What a machine offers; an engine nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Offer {
    /// The numbers of its servers that decode windows.
    pub flow: Vec<u64>,
    /// The number of its server that makes songs, and how many at once.
    pub songs: Option<(u64, usize)>,
}

impl Offer {
    pub fn is_empty(&self) -> bool {
        self.flow.is_empty() && self.songs.is_none()
    }

    /// As the machine says it.
    pub fn text(&self) -> String {
        let flow: Vec<String> = self.flow.iter().map(u64::to_string).collect();
        let songs = self.songs.map(|(number, places)| format!(" songs={number},{places}"));
        format!("{PREFIX} flow={}{}", flow.join(","), songs.unwrap_or_default())
    }

    /// What a machine offers that says `text`; nothing where it is no machine of ours.
    pub fn read(text: &str) -> Self {
        let mut words = text.split(' ');
        let known = words.next().is_some_and(|word| word.starts_with("heartstream/"));
        let numbers = |name: &str| -> Vec<u64> {
            let list = words.clone().find_map(|word| word.strip_prefix(name)).filter(|_| known);
            list.into_iter().flat_map(|list| list.split(',')).filter_map(|number| number.parse().ok()).collect()
        };
        let mut flow = numbers("flow=");
        flow.truncate(MOST_SERVERS);
        let songs = match numbers("songs=")[..] {
            [number, places] if places > 0 => {
                Some((number, usize::try_from(places).unwrap_or(MOST_SONGS).min(MOST_SONGS)))
            }
            _ => None,
        };
        Self { flow, songs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_machine_says_another_reads() {
        let offers = [
            Offer::default(),
            Offer { flow: vec![3, 17], songs: None },
            Offer { flow: Vec::new(), songs: Some((4, 2)) },
            Offer { flow: vec![1], songs: Some((u64::MAX, MOST_SONGS)) },
        ];
        for offer in offers {
            assert_eq!(Offer::read(&offer.text()), offer);
        }
    }

    #[test]
    fn anything_else_offers_nothing_and_no_more_than_is_allowed() {
        for other in [
            "",
            "heartstream",
            "kubo/0.1 flow=3 songs=1,1",
            "flow=3",
            "heartstream/0.1 flow=-1,x, songs=1",
            "heartstream/0.1 songs=1,0",
            "heartstream/0.1 songs=1,2,3",
            "\u{0}",
        ] {
            assert!(Offer::read(other).is_empty(), "{other}");
        }
        let many = Offer { flow: (0..1000).collect(), songs: Some((1, usize::MAX)) };
        let read = Offer::read(&many.text());
        assert_eq!((read.flow.len(), read.songs), (MOST_SERVERS, Some((1, MOST_SONGS))));
    }
}
