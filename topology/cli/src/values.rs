//! Values of options as people write them: times with units, whole numbers, rates, cores.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    str::FromStr,
};

use heartstream_models::DeviceName;

/// Units of time, in seconds.
const UNITS: [(&[&str], f64); 4] = [
    (&["h", "hr", "hrs", "hour", "hours"], 3600.0),
    (&["m", "min", "mins", "minute", "minutes"], 60.0),
    (&["s", "sec", "secs", "second", "seconds"], 1.0),
    (&["ms", "msec"], 0.001),
];

/// Reads what computes. Some programs call a loudspeaker a device; here that is another option.
pub(crate) fn device(text: &str) -> Result<DeviceName, String> {
    text.parse().map_err(|error| format!("{error}; `play` names a loudspeaker with --speaker"))
}

/// Reads where a server listens: an address with a port, `localhost` with a port, or a port of this machine alone.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    let port = text.strip_prefix("localhost").unwrap_or(text);
    let port = port.strip_prefix(':').unwrap_or(port).parse().ok();
    let address = text.parse().ok().or(port.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
    address
        .ok_or_else(|| "expected an address with a port such as 127.0.0.1:7878 or localhost:7878, or a port".to_owned())
}

/// Reads the name of a host, as a client's `Host` header has it, without a port.
pub(crate) fn host(text: &str) -> Result<String, String> {
    let text = text.trim();
    let is_name =
        |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_".contains(&c));
    let address = text.trim_start_matches('[').trim_end_matches(']');
    if address.parse::<IpAddr>().is_ok() {
        return Ok(address.to_owned());
    }
    match text.trim_end_matches('.').split('.').all(is_name) {
        true => Ok(text.to_owned()),
        false => Err("expected a name without a scheme, a port or a path, such as music.example.org; one with other \
                      letters than a to z in the form that browsers send (xn--…)"
            .to_owned()),
    }
}

/// Reads a time above 0: `240`, `240s`, `4m`, `1m30s`, `1.5 min`, `800ms`, `3:45`.
pub(crate) fn time(text: &str) -> Result<f64, String> {
    seconds(text)
        .filter(|seconds| seconds.is_finite() && *seconds > 0.0)
        .ok_or_else(|| "expected a time above 0 such as 240, 240s, 4m, 1m30s or 3:45".to_owned())
}

/// As [`time`], but 0 is a time, too.
pub(crate) fn time_or_none(text: &str) -> Result<f64, String> {
    seconds(text)
        .filter(|seconds| seconds.is_finite() && *seconds >= 0.0)
        .ok_or_else(|| "expected 0 or a time such as 240, 240s, 4m, 1m30s or 3:45".to_owned())
}

fn seconds(text: &str) -> Option<f64> {
    let text = text.trim().to_lowercase();
    if text.contains(':') {
        return clock(&text);
    }
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let mut sum = 0.0;
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, behind) = rest.split_at(digits);
        let behind = behind.trim_start();
        let letters = behind.find(|letter: char| !letter.is_alphabetic()).unwrap_or(behind.len());
        let (unit, more) = behind.split_at(letters);
        let (_, factor) = UNITS.iter().find(|(names, _)| names.contains(&unit))?;
        sum += number.parse::<f64>().ok()? * factor;
        rest = more.trim_start();
    }
    (!text.is_empty()).then_some(sum)
}

/// Reads `3:45` and `1:02:03.5`.
fn clock(text: &str) -> Option<f64> {
    let parts: Vec<&str> = text.split(':').collect();
    let (last, first) = parts.split_last()?;
    let whole = |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse::<f64>().ok())?;
    let below_a_minute = |part: &f64| (0.0..60.0).contains(part);
    let plain = last.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let seconds = last.parse::<f64>().ok().filter(|seconds| plain && below_a_minute(seconds))?;
    match first.iter().map(whole).collect::<Option<Vec<_>>>()?.as_slice() {
        [minutes] => Some(60.0 * minutes + seconds),
        [hours, minutes] if below_a_minute(minutes) => Some(3600.0 * hours + 60.0 * minutes + seconds),
        _ => None,
    }
}

/// Reads a whole number in `range`.
pub(crate) fn whole<T>(range: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + std::fmt::Display + Clone + Send + Sync + 'static,
{
    move |text| {
        let number = text.trim().parse::<T>().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("expected a whole number from {} to {}", range.start(), range.end()))
    }
}

/// Reads a count of which there must be one at least; its upper limit is checked where it is used.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    text.trim().parse().map_err(|_| "expected a whole number from 1 up".to_owned())
}

/// Reads a number such as `1.5`; whether it is in range is for what computes with it to say.
pub(crate) fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.trim().parse().map_err(|_| "expected a number such as 1.5".to_owned())
}

/// Rates that a sound card may have.
const RATES: RangeInclusive<f64> = 8_000.0..=768_000.0;

/// Reads a rate: `44100`, `44100 Hz`, `44.1k`, `48kHz`.
pub(crate) fn rate(text: &str) -> Result<u32, String> {
    let text = text.trim().to_lowercase();
    let number = text.strip_suffix("hz").unwrap_or(&text).trim_end();
    let (number, factor) = number.strip_suffix('k').map_or((number, 1.0), |number| (number.trim_end(), 1000.0));
    let rate = number.parse::<f64>().ok().map(|number| (number * factor).round());
    let rate = rate.filter(|rate| RATES.contains(rate)).map(|rate| rate as u32);
    rate.ok_or_else(|| "expected a rate from 8000 to 768000 Hz such as 48000 or 44.1kHz".to_owned())
}

/// Numbers of cores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CoreList(pub Vec<usize>);

/// Reads `0-5,8`.
pub(crate) fn core_list(text: &str) -> Result<CoreList, String> {
    let number = |text: &str| text.trim().parse::<usize>().ok().filter(|core| *core < 4096);
    let range = |text: &str| match text.split_once('-') {
        None => number(text).map(|core| core..=core),
        Some((from, to)) => Some(number(from)?..=number(to)?).filter(|range| !range.is_empty()),
    };
    let ranges = text.split(',').map(range).collect::<Option<Vec<_>>>();
    let cores: Option<Vec<usize>> = ranges.map(|ranges| ranges.into_iter().flatten().collect());
    cores.map(CoreList).ok_or_else(|| "expected numbers of cores such as 0-5 or 0,2,4".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn any_text_is_a_list_of_real_cores_or_refused(text in r"[0-9,\- ]{0,12}|[0-9]{1,4}(-[0-9]{1,4})?|\PC{0,8}") {
            if let Ok(CoreList(cores)) = core_list(&text) {
                proptest::prop_assert!(!cores.is_empty() && cores.iter().all(|core| *core < 4096));
            }
        }

        #[test]
        fn any_text_is_a_time_above_nothing_or_refused(text in r"[0-9hms:. \-einfa]{0,12}|\PC{0,8}") {
            if let Ok(seconds) = time(&text) {
                proptest::prop_assert!(seconds > 0.0 && seconds.is_finite());
            }
        }
    }

    #[test]
    fn times_have_the_units_that_people_write() {
        let times = [
            ("10", 10.0),
            ("10s", 10.0),
            ("800ms", 0.8),
            ("240s", 240.0),
            ("4m", 240.0),
            ("4 min", 240.0),
            ("1m30s", 90.0),
            ("1 min 30 sec", 90.0),
            ("1.5m", 90.0),
            ("1H", 3600.0),
            ("3:45", 225.0),
            ("1:00:00.5", 3600.5),
        ];
        for (text, seconds) in times {
            assert_eq!(time(text), Ok(seconds), "{text}");
        }
        for wrong in
            ["", "s", "0", "-1s", "-4m", "NaN", "inf", "10x", "1:60", "1:-5", ":5", "1:2:3:4", "4m5", "m4", "1,5"]
        {
            assert!(time(wrong).is_err(), "{wrong}");
        }
        assert_eq!(time_or_none("0"), Ok(0.0));
        assert!(time_or_none("-1").is_err());
    }

    #[test]
    fn whole_numbers_outside_the_range_are_answered_with_it() {
        let seed = whole(0..=u64::MAX);
        assert_eq!(seed("18446744073709551615"), Ok(u64::MAX));
        for wrong in ["-1", "1.5", "18446744073709551616", "", "x"] {
            assert!(seed(wrong).is_err_and(|said| said.contains("from 0 to 18446744073709551615")), "{wrong}");
        }
        assert!(whole(1..=64_usize)("65").is_err_and(|said| said.contains("from 1 to 64")));
        assert!(count("-3").is_err_and(|said| said.contains("from 1 up")));
    }

    #[test]
    fn a_server_listens_on_this_machine_unless_an_address_says_otherwise() {
        for text in ["7878", ":7878", "localhost:7878", "127.0.0.1:7878"] {
            assert_eq!(address(text), Ok(SocketAddr::from(([127, 0, 0, 1], 7878))), "{text}");
        }
        assert_eq!(address("[::1]:80").map(|address| address.port()), Ok(80));
        for wrong in ["", ":", "localhost", "127.0.0.1", "127.0.0.1:99999", "host:80", "-1"] {
            assert!(address(wrong).is_err_and(|said| said.contains("localhost:7878")), "{wrong}");
        }
    }

    #[test]
    fn a_host_is_a_name_without_a_scheme_a_port_or_a_path() {
        for name in ["localhost", "music.example.org", "my_box", "example.org.", "192.168.0.7", "xn--bcher-kva.example"]
        {
            assert_eq!(host(name), Ok(name.to_owned()));
        }
        assert_eq!(host(" [::1] "), Ok("::1".to_owned()));
        for wrong in ["", ".", "http://a.org", "a.org:80", "a.org/x", "a..org", "b\u{fc}cher.example", "a b", "*"] {
            assert!(host(wrong).is_err_and(|said| said.contains("music.example.org")), "{wrong}");
        }
    }

    #[test]
    fn rates_have_units_too() {
        assert_eq!(["44100", "44.1k", "48kHz", "96000 hz"].map(rate), [Ok(44_100), Ok(44_100), Ok(48_000), Ok(96_000)]);
        for wrong in ["-48000", "7999", "1e9", "NaN", "fast", ""] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lists_of_cores_are_numbers_and_ranges() {
        let cores = |text| core_list(text).map(|list| list.0);
        assert_eq!(cores("0-3,7"), Ok(vec![0, 1, 2, 3, 7]));
        assert_eq!(cores("5"), Ok(vec![5]));
        for wrong in ["", "a", "3-1", "1-", "-1", "0,,1", "99999999999999999999", "0-99999"] {
            assert!(cores(wrong).is_err(), "{wrong}");
        }
    }
}
