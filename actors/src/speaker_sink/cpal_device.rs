//! Audio output devices of this machine, through cpal.

use std::collections::BTreeSet;

use cpal::{
    BufferSize, ErrorKind, FromSample, I24, SampleFormat, SizedSample, Stream, StreamConfig, SupportedBufferSize,
    SupportedStreamConfig, SupportedStreamConfigRange, U24,
    traits::{DeviceTrait, HostTrait, StreamTrait},
};
use heartstream_messages::units::{CHANNELS, SAMPLE_RATE};

use super::{
    device::{DeviceNews, OpenStream, OutputDevice, SpeakerError},
    start_policy::LEAD,
};
use crate::sample_ring::Playback;

/// The largest sample of a device that takes integers. One more step would be full scale, which has no integer, and
/// which 24-bit formats would wrap to the other side.
const MOST: f32 = 1.0 - f32::EPSILON;
/// Formats that the engine can make, best first: what keeps most of a sample.
const FORMATS: [SampleFormat; 12] = [
    SampleFormat::F32,
    SampleFormat::F64,
    SampleFormat::I32,
    SampleFormat::I24,
    SampleFormat::I16,
    SampleFormat::U32,
    SampleFormat::U24,
    SampleFormat::U16,
    SampleFormat::I64,
    SampleFormat::U64,
    SampleFormat::I8,
    SampleFormat::U8,
];

/// Description of an output device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceDescription {
    /// The name by which the system finds it; no other device has it.
    pub id: String,
    /// Its display name.
    pub name: String,
    /// Whether the system plays on it unless told otherwise.
    pub is_default: bool,
    /// Rates from the lowest to the highest of each range, in samples of each channel in a second.
    pub rates: Vec<(u32, u32)>,
    /// Counts of channels.
    pub channels: Vec<u16>,
    /// Formats of samples, such as `f32`.
    pub formats: Vec<String>,
}

/// The output devices that can be used, the default one first.
pub fn devices() -> Vec<DeviceDescription> {
    let host = cpal::default_host();
    let default = host.default_output_device();
    let default_id = default.as_ref().map(id);
    let others = host.output_devices().into_iter().flatten();
    let mut seen = BTreeSet::new();
    let all = default.into_iter().chain(others).filter(|device| seen.insert(id(device)));
    // A device without a description is only a name in a configuration.
    all.filter_map(|device| {
        let ranges: Vec<_> = device.supported_output_configs().ok()?.collect();
        let id = id(&device);
        (!ranges.is_empty()).then(|| describe(id.clone(), name(&device), default_id.as_ref() == Some(&id), &ranges))
    })
    .collect()
}

fn describe(id: String, name: String, is_default: bool, ranges: &[SupportedStreamConfigRange]) -> DeviceDescription {
    let rates: BTreeSet<_> = ranges.iter().map(|range| (range.min_sample_rate(), range.max_sample_rate())).collect();
    let channels: BTreeSet<_> = ranges.iter().map(|range| range.channels()).collect();
    let mut formats: Vec<_> = ranges.iter().map(|range| range.sample_format()).collect();
    formats.sort_by_key(|format| FORMATS.iter().position(|known| known == format).unwrap_or(FORMATS.len()));
    formats.dedup();
    DeviceDescription {
        id,
        name,
        is_default,
        rates: rates.into_iter().collect(),
        channels: channels.into_iter().collect(),
        formats: formats.iter().map(ToString::to_string).collect(),
    }
}

fn id(device: &cpal::Device) -> String {
    device.id().map(|id| id.id().to_owned()).unwrap_or_default()
}

fn name(device: &cpal::Device) -> String {
    device.description().map(|description| description.name().to_owned()).unwrap_or_default()
}

/// The device that `wanted` names: by its id or its whole name, else by a part of either that no other device has.
fn choose(wanted: &str, known: &[DeviceDescription]) -> Result<String, SpeakerError> {
    let label = |device: &&DeviceDescription| match device.id == device.name {
        true => device.id.clone(),
        false => format!("{} ({})", device.id, device.name),
    };
    if let Some(device) = known.iter().find(|device| device.id == wanted) {
        return Ok(device.id.clone());
    }
    let part = wanted.to_lowercase();
    let whole_name = |device: &DeviceDescription| device.name == wanted;
    let has_part = |device: &DeviceDescription| {
        device.id.to_lowercase().contains(&part) || device.name.to_lowercase().contains(&part)
    };
    for fits in [&whole_name as &dyn Fn(&DeviceDescription) -> bool, &has_part] {
        let found: Vec<&DeviceDescription> = known.iter().filter(|device| fits(device)).collect();
        match found.as_slice() {
            [] => (),
            [device] => return Ok(device.id.clone()),
            several => {
                let known = several.iter().map(label).collect();
                return Err(SpeakerError::Ambiguous { name: wanted.to_owned(), known });
            }
        }
    }
    Err(SpeakerError::Unknown { name: wanted.to_owned(), known: known.iter().map(|device| label(&device)).collect() })
}

/// A device of the system, found by name or by default, and found again in the same way when it was lost.
pub struct CpalDevice {
    /// Its id; `None` for whatever is the system's default.
    id: Option<String>,
    rate: Option<u32>,
    found: Option<(cpal::Device, SupportedStreamConfig)>,
}

impl CpalDevice {
    /// The device called `name`, or the default one; playing at `rate`, or at 48 kHz or what is nearest.
    ///
    /// # Errors
    /// When there is no such device, several of that name, or none that plays at that rate.
    pub fn find(name: Option<&str>, rate: Option<u32>) -> Result<Self, SpeakerError> {
        let id = name.map(|name| choose(name, &devices())).transpose()?;
        let mut device = Self { id, rate, found: None };
        device.connect()?;
        Ok(device)
    }

    fn look(&self) -> Result<cpal::Device, SpeakerError> {
        let host = cpal::default_host();
        let default = host.default_output_device();
        let Some(wanted) = &self.id else { return default.ok_or(SpeakerError::NoDevice) };
        let others = host.output_devices().into_iter().flatten();
        default.into_iter().chain(others).find(|device| id(device) == *wanted).ok_or(SpeakerError::NoDevice)
    }
}

impl OutputDevice for CpalDevice {
    fn name(&self) -> String {
        self.found
            .as_ref()
            .map_or_else(|| self.id.clone().unwrap_or_else(|| "default".to_owned()), |found| name(&found.0))
    }

    fn connect(&mut self) -> Result<u32, SpeakerError> {
        self.found = None;
        let device = self.look()?;
        let offered: Vec<_> = device.supported_output_configs().map_err(|_| SpeakerError::NoDevice)?.collect();
        let config = best(&name(&device), &offered, self.rate)?;
        let rate = config.sample_rate();
        tracing::debug!(device = name(&device), ?config, "audio device");
        self.found = Some((device, config));
        Ok(rate)
    }

    fn open(&mut self, playback: Playback, news: DeviceNews) -> Result<OpenStream, SpeakerError> {
        let (device, config) = self.found.as_ref().ok_or(SpeakerError::NoDevice)?;
        let settings = StreamConfig { buffer_size: period(config), ..config.config() };
        let stream = match config.sample_format() {
            SampleFormat::F32 => stream::<f32>(device, settings, playback, news),
            SampleFormat::F64 => stream::<f64>(device, settings, playback, news),
            SampleFormat::I8 => stream::<i8>(device, settings, playback, news),
            SampleFormat::I16 => stream::<i16>(device, settings, playback, news),
            SampleFormat::I24 => stream::<I24>(device, settings, playback, news),
            SampleFormat::I32 => stream::<i32>(device, settings, playback, news),
            SampleFormat::I64 => stream::<i64>(device, settings, playback, news),
            SampleFormat::U8 => stream::<u8>(device, settings, playback, news),
            SampleFormat::U16 => stream::<u16>(device, settings, playback, news),
            SampleFormat::U24 => stream::<U24>(device, settings, playback, news),
            SampleFormat::U32 => stream::<u32>(device, settings, playback, news),
            SampleFormat::U64 => stream::<u64>(device, settings, playback, news),
            other => return Err(SpeakerError::NoFormat { device: name(device), found: other.to_string() }),
        };
        let stream = stream.and_then(|stream| stream.play().map(|()| stream));
        Ok(Box::new(stream.map_err(|error| SpeakerError::Open(error.to_string()))?))
    }
}

/// Samples of each channel that the device asks for at once. A player may be a moment late with a pause, but must not
/// stutter while every core computes: so as much as [`LEAD`] allows of two periods.
fn period(config: &SupportedStreamConfig) -> BufferSize {
    match config.buffer_size() {
        SupportedBufferSize::Range { min, max } => {
            let wanted = (LEAD.0 * f64::from(config.sample_rate())) as u32 * 2 / 5;
            // Two periods must fit; some systems name the largest buffer here, others the largest period.
            BufferSize::Fixed(wanted.clamp(*min, (*max / 2).max(*min)))
        }
        SupportedBufferSize::Unknown => BufferSize::Default,
    }
}

/// Fills a device's buffer with samples of the format `T`. Floats are handed on as they are, whole numbers are held within
/// full scale.
pub fn fill<T: SizedSample + FromSample<f32>>(playback: &mut Playback, buffer: &mut [T], channels: usize) {
    let most = if T::FORMAT.is_float() { f32::INFINITY } else { MOST };
    let least = if T::FORMAT.is_float() { f32::NEG_INFINITY } else { -1.0 };
    playback.fill_with(buffer, channels, T::EQUILIBRIUM, |sample| T::from_sample(sample.clamp(least, most)));
}

/// Opens a stream of samples in the format `T`.
fn stream<T: SizedSample + FromSample<f32>>(
    device: &cpal::Device,
    config: StreamConfig,
    mut playback: Playback,
    news: DeviceNews,
) -> Result<Stream, cpal::Error> {
    let channels = usize::from(config.channels);
    let callback = move |buffer: &mut [T], _: &cpal::OutputCallbackInfo| fill(&mut playback, buffer, channels);
    let failed = move |error: cpal::Error| match error.kind() {
        // The stream goes on after these.
        ErrorKind::Xrun => news.xrun(),
        ErrorKind::DeviceChanged | ErrorKind::RealtimeDenied => (),
        _ => news.lost(),
    };
    device.build_output_stream(config, callback, failed, None)
}

/// The best of what a device offers, at `wanted` Hz or else at the rate that suits the song best.
fn best(
    device: &str,
    offered: &[SupportedStreamConfigRange],
    wanted: Option<u32>,
) -> Result<SupportedStreamConfig, SpeakerError> {
    if offered.is_empty() {
        return Err(SpeakerError::NoDevice);
    }
    let usable: Vec<_> = offered.iter().filter(|range| FORMATS.contains(&range.sample_format())).collect();
    if usable.is_empty() {
        let found: BTreeSet<_> = offered.iter().map(|range| range.sample_format().to_string()).collect();
        let found = found.into_iter().collect::<Vec<_>>().join(", ");
        return Err(SpeakerError::NoFormat { device: device.to_owned(), found });
    }
    let choices = usable.iter().filter_map(|range| {
        let rate = wanted.unwrap_or_else(|| SAMPLE_RATE.clamp(range.min_sample_rate(), range.max_sample_rate()));
        Some((rank(range, rate)?, range.try_with_sample_rate(rate)?))
    });
    match (choices.min_by_key(|(rank, _)| *rank), wanted) {
        (Some((_, config)), _) => Ok(config),
        (None, rate) => {
            let found: BTreeSet<_> =
                usable.iter().map(|range| (range.min_sample_rate(), range.max_sample_rate())).collect();
            let found = found.into_iter().map(rates).collect::<Vec<_>>().join(", ");
            Err(SpeakerError::NoRate { device: device.to_owned(), rate: rate.unwrap_or(SAMPLE_RATE), found })
        }
    }
}

fn rates((lowest, highest): (u32, u32)) -> String {
    if lowest == highest { format!("{lowest} Hz") } else { format!("{lowest} to {highest} Hz") }
}

/// How well a range of configurations suits the engine at `rate`, smallest best: two channels before more, mono last;
/// 48 kHz before higher rates, which lose nothing, before lower ones; then the format.
fn rank(range: &SupportedStreamConfigRange, rate: u32) -> Option<(bool, u32, usize, usize)> {
    let format = FORMATS.iter().position(|format| *format == range.sample_format())?;
    let channels = usize::from(range.channels());
    let rate = if rate >= SAMPLE_RATE { rate - SAMPLE_RATE } else { u32::MAX - rate };
    (rate != u32::MAX && channels > 0).then_some((channels == 1, rate, channels.abs_diff(CHANNELS), format))
}

#[cfg(test)]
mod tests {
    use cpal::{I24, Sample, U24};

    use super::*;
    use crate::{sample_ring::sample_ring, song_context::Pause};

    fn range(channels: u16, rates: (u32, u32), format: SampleFormat) -> SupportedStreamConfigRange {
        SupportedStreamConfigRange::new(channels, rates.0, rates.1, SupportedBufferSize::Unknown, format)
    }

    fn chosen(offered: &[SupportedStreamConfigRange], rate: Option<u32>) -> (u16, u32, SampleFormat) {
        let config = best("device", offered, rate).expect("a configuration");
        (config.channels(), config.sample_rate(), config.sample_format())
    }

    #[test]
    fn stereo_at_48_khz_in_floats_is_taken_where_it_is_offered() {
        let offered = [
            range(1, (48_000, 48_000), SampleFormat::F32),
            range(2, (8_000, 192_000), SampleFormat::I16),
            range(2, (8_000, 192_000), SampleFormat::F32),
            range(6, (48_000, 48_000), SampleFormat::F32),
        ];
        assert_eq!(chosen(&offered, None), (2, 48_000, SampleFormat::F32));
        assert_eq!(chosen(&offered, Some(44_100)), (2, 44_100, SampleFormat::F32));
    }

    #[test]
    fn another_rate_is_taken_where_48_khz_is_not_offered_a_higher_one_first() {
        let both = [range(2, (44_100, 44_100), SampleFormat::I16), range(2, (96_000, 96_000), SampleFormat::I16)];
        assert_eq!(chosen(&both, None).1, 96_000);
        assert_eq!(chosen(&both[..1], None).1, 44_100);
        let low = [range(2, (8_000, 8_000), SampleFormat::U8), range(2, (22_050, 22_050), SampleFormat::U8)];
        assert_eq!(chosen(&low, None).1, 22_050);
    }

    #[test]
    fn mono_and_many_channels_are_taken_where_there_is_no_stereo() {
        assert_eq!(chosen(&[range(1, (48_000, 48_000), SampleFormat::I24)], None).0, 1);
        let many = [range(8, (48_000, 48_000), SampleFormat::I32), range(4, (48_000, 48_000), SampleFormat::I32)];
        assert_eq!(chosen(&many, None).0, 4);
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_what_there_is() {
        let error = |offered: &[_], rate| best("toy", offered, rate).expect_err("of no use").to_string();
        let dsd = error(&[range(2, (44_100, 44_100), SampleFormat::DsdU8)], None);
        assert!(dsd.contains("toy") && dsd.contains("dsd"), "{dsd}");
        let rate = error(&[range(2, (44_100, 48_000), SampleFormat::F32)], Some(96_000));
        assert!(rate.contains("96000 Hz") && rate.contains("44100 to 48000 Hz"), "{rate}");
        assert_eq!(best("toy", &[], None).expect_err("nothing"), SpeakerError::NoDevice);
    }

    fn described(id: &str, name: &str) -> DeviceDescription {
        describe(id.to_owned(), name.to_owned(), false, &[])
    }

    #[test]
    fn a_device_is_found_by_its_id_its_name_or_a_part_that_only_it_has() {
        let known = [
            described("default", "Default Audio Device"),
            described("hw:CARD=USB,DEV=0", "Scarlett 2i2"),
            described("hw:CARD=PCH,DEV=0", "Built-in"),
            described("hw:CARD=PCH,DEV=1", "Built-in digital"),
        ];
        let found = |name| choose(name, &known);
        assert_eq!(found("default").as_deref(), Ok("default"));
        assert_eq!(found("scarLETT").as_deref(), Ok("hw:CARD=USB,DEV=0"));
        assert_eq!(found("card=usb").as_deref(), Ok("hw:CARD=USB,DEV=0"));
        assert_eq!(found("Built-in").as_deref(), Ok("hw:CARD=PCH,DEV=0"), "a whole name is no part");
        let several = found("built").expect_err("two").to_string();
        assert!(several.contains("hw:CARD=PCH,DEV=0 (Built-in), hw:CARD=PCH,DEV=1"), "{several}");
        let none = found("toaster").expect_err("none").to_string();
        assert!(known.iter().all(|device| none.contains(&device.id)), "{none}");
        assert!(choose("x", &[]).expect_err("none").to_string().contains("are none at all"));
    }

    fn ring_with(samples: &[f32]) -> Playback {
        let (mut feed, playback) = sample_ring(samples.len(), Pause::default());
        feed.samples.push_entire_slice(samples).expect("room for all");
        playback
    }

    /// Plays full scale, half scale and silence in the format `T`, as numbers.
    fn played<T: SizedSample + FromSample<f32> + Into<f64>>() -> [f64; 6] {
        let mut buffer = [T::EQUILIBRIUM; 6];
        fill(&mut ring_with(&[1.5, 1.0, 0.5, -0.5, -1.0, 0.0]), &mut buffer, 2);
        buffer.map(Into::into)
    }

    #[test]
    fn full_scale_never_wraps_to_the_other_side_in_any_whole_number_format() {
        let wide = |sample: i64| sample as f64;
        let ordered = [
            ("i8", played::<i8>()),
            ("i16", played::<i16>()),
            ("i32", played::<i32>()),
            ("u8", played::<u8>()),
            ("u16", played::<u16>()),
            ("u32", played::<u32>()),
        ];
        for (format, [over, full, half, minus_half, minus_full, silence]) in ordered {
            assert!(over == full && full > half && half > silence, "{format}");
            assert!(silence > minus_half && minus_half > minus_full, "{format}");
        }
        let mut i24 = [I24::EQUILIBRIUM; 4];
        fill(&mut ring_with(&[1.5, 1.0, -1.0, 0.5]), &mut i24, 2);
        assert_eq!(i24.map(|x| wide(x.inner().into())), [8_388_607.0, 8_388_607.0, -8_388_608.0, 4_194_304.0]);
        let mut u24 = [U24::EQUILIBRIUM; 4];
        fill(&mut ring_with(&[1.5, 1.0, -1.0, 0.0]), &mut u24, 2);
        assert_eq!(u24.map(|x| wide(x.inner().into())), [16_777_215.0, 16_777_215.0, 0.0, 8_388_608.0]);
    }
}
