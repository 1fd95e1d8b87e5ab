//! Offer of a machine: what its agent version says when two machines meet.
//!
//! The `identify` protocol of libp2p has two machines tell each other who they are as soon as they are connected. So an
//! engine knows at once which actors of the other machine decode windows.

/// Servers of one machine, at most: an engine asks all of them for their proof at once, and a connection carries no more
/// requests than that.
pub(super) const MOST_SERVERS: usize = 16;
const PREFIX: &str = concat!("heartstream/", env!("CARGO_PKG_VERSION"));

/// What a machine with these servers says.
pub(super) fn text(servers: &[u64]) -> String {
    let servers: Vec<String> = servers.iter().map(u64::to_string).collect();
    format!("{PREFIX} flow={}", servers.join(","))
}

/// The servers that a machine says it has; none where it is no machine of ours, or an engine.
pub(super) fn servers(text: &str) -> Vec<u64> {
    let mut words = text.split(' ');
    let known = words.next().is_some_and(|word| word.starts_with("heartstream/"));
    let list = words.find_map(|word| word.strip_prefix("flow=")).filter(|_| known);
    let numbers = list.into_iter().flat_map(|list| list.split(',')).filter_map(|number| number.parse().ok());
    numbers.take(MOST_SERVERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_machine_says_another_reads() {
        assert_eq!(servers(&text(&[3, 17])), [3, 17]);
        assert_eq!(servers(&text(&[])), [0; 0]);
    }

    #[test]
    fn anything_else_offers_nothing_and_no_more_than_is_allowed() {
        for other in ["", "heartstream", "kubo/0.1 flow=3", "flow=3", "heartstream/0.1 flow=-1,x,", "\u{0}"] {
            assert_eq!(servers(other), [0; 0], "{other}");
        }
        let many: Vec<u64> = (0..1000).collect();
        assert_eq!(servers(&text(&many)).len(), MOST_SERVERS);
    }
}
