//! `devices`: the loudspeakers that there are, and what they can play.

use heartstream::speaker::DeviceDescription;
use serde_json::{Value, json};

use super::{Failed, audio_noise::hushed, model_args::DevicesArgs};

/// Prints the output devices; what the system's sound libraries say about them only if `verbose`.
pub(super) fn devices(args: &DevicesArgs, verbose: bool) -> Result<(), Failed> {
    let devices = hushed(verbose, heartstream::speaker::devices);
    if args.json {
        out!("{:#}", Value::from(devices.iter().map(json).collect::<Vec<_>>()));
    } else if devices.is_empty() {
        out!("no audio output device was found");
    } else {
        devices.iter().for_each(print);
        out!("`play --speaker` takes one of these names, or a part of one");
    }
    Ok(())
}

fn json(device: &DeviceDescription) -> Value {
    let DeviceDescription { id, name, is_default, rates, channels, formats } = device;
    let rates: Vec<Value> =
        rates.iter().map(|(lowest, highest)| json!({ "lowest": lowest, "highest": highest })).collect();
    json!({ "id": id, "name": name, "default": is_default, "rates": rates, "channels": channels, "formats": formats })
}

fn print(device: &DeviceDescription) {
    let DeviceDescription { id, name, is_default, rates, channels, formats } = device;
    out!("{} {id}{}", if *is_default { '*' } else { ' ' }, if *is_default { " (default)" } else { "" });
    if name != id {
        out!("    {name}");
    }
    let rates = rates.iter().map(|(lowest, highest)| match lowest == highest {
        true => lowest.to_string(),
        false => format!("{lowest} to {highest}"),
    });
    out!("    {} Hz", rates.collect::<Vec<_>>().join(", "));
    out!("    channels {}", runs(channels));
    out!("    {}", formats.join(", "));
}

/// Writes ascending numbers as runs: `1 to 8, 16`.
fn runs(numbers: &[u16]) -> String {
    let follows = |a: &u16, b: &u16| a.checked_add(1) == Some(*b);
    let run = |run: &[u16]| match run {
        [first, .., last] if run.len() > 2 => format!("{first} to {last}"),
        few => few.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    numbers.chunk_by(follows).map(run).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_written_as_runs() {
        assert_eq!(runs(&[1, 2, 3, 4, 6, 8, 9]), "1 to 4, 6, 8, 9");
        assert_eq!(runs(&[2]), "2");
        assert_eq!(runs(&[65_534, 65_535]), "65534, 65535");
    }
}
