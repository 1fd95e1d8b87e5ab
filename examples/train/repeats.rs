//! Figures of songs that play their parts again: how alike the codes are, which is how well copying could do.

use crate::{
    again::{self, NEW},
    codes::Coder,
    corpus::Manner,
    error::Result,
    feed::Songs,
    setting::Setting,
};

/// Frames from the source of a frame at which its codes are looked for, too.
const BESIDE: i64 = 2;

/// Codes that are compared, and those that are equal.
#[derive(Default, Clone, Copy)]
struct Count {
    equal: f64,
    all: f64,
}

impl Count {
    fn add(&mut self, equal: bool) {
        self.equal += f64::from(u8::from(equal));
        self.all += 1.0;
    }

    fn share(self) -> f64 {
        self.equal / self.all.max(1.0)
    }

    /// Bits of a code for a guess that is as often right, where all others are equally likely.
    fn bits(self, codes: f64) -> f64 {
        let right = self.share().clamp(1e-6, 1.0 - 1e-6);
        -right * right.log2() - (1.0 - right) * ((1.0 - right) / (codes - 1.0)).log2()
    }
}

/// Prints them.
///
/// # Errors
/// When the codes of the run are missing, or a song cannot be rendered.
pub fn print(setting: &Setting, count: usize) -> Result<()> {
    let coder = Coder::open(setting)?;
    let songs: Songs = setting.source.songs(false, Manner::Form, 0, setting.seed, setting.threads);
    let codes = setting.size.codec().codebook_size as f64;
    let books = setting.size.codec().num_quantizers;
    let (mut at, mut stays, mut new) = (
        vec![[Count::default(); 2 * BESIDE as usize + 1]; books],
        vec![Count::default(); books],
        vec![Count::default(); books],
    );
    let (mut again, mut frames, mut seconds) = (0, 0, Vec::new());
    for song in songs.take(count) {
        let song = song?;
        let sources = again::sources(&song, song.frames());
        let path = coder.paths(std::slice::from_ref(&song))?.remove(0);
        frames += sources.len();
        again += sources.iter().filter(|source| **source != NEW).count();
        seconds.push(song.frames() as f64 * 0.08);
        for (book, codes) in path.codes.iter().enumerate() {
            for (frame, source) in sources.iter().enumerate().skip(1).filter(|(_, source)| **source != NEW) {
                stays[book].add(codes[frame] == codes[frame - 1]);
                for (place, count) in at[book].iter_mut().enumerate() {
                    if let Some(code) = codes.get((i64::from(*source) + place as i64 - BESIDE) as usize) {
                        count.add(*code == codes[frame]);
                    }
                }
                if codes[frame] != codes[frame - 1] {
                    new[book].add(codes[*source as usize] == codes[frame]);
                }
            }
        }
    }
    println!(
        "{count} songs of {:.1} s; {:.0} % of their frames are played again",
        seconds.iter().sum::<f64>() / count as f64,
        100.0 * again as f64 / frames.max(1) as f64
    );
    for book in 0..books {
        let shares: Vec<String> = at[book].iter().map(|count| format!("{:.3}", count.share())).collect();
        println!(
            "codebook {book}: as its source and {BESIDE} frames to either side: {}; as the frame before: {:.3}; of those that change, as their source {:.3}; \
             bits of a copy {:.3}, of a repeated frame {:.3}",
            shares.join(" "),
            stays[book].share(),
            new[book].share(),
            at[book][BESIDE as usize].bits(codes),
            stays[book].bits(codes),
        );
    }
    Ok(())
}
