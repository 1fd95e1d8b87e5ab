//! Tests of the corpus, on its own notes and a SoundFont of one sawtooth.

use std::{collections::BTreeSet, fs, sync::Arc};

use heartstream_models::{
    heartmula::SpecialIds,
    text::{KnownTags, PromptTokenizer},
    weights::Checkpoint,
};

use super::{
    Dataset, Manner, Plan, SCORES, Split, Texture, instruments::INSTRUMENTS, render, scores, soundfont, tokens,
    vocabulary, words,
};

/// Songs that a test looks at.
const SONGS: usize = 200;

fn pieces() -> Vec<scores::Piece> {
    scores::read(&fs::read(SCORES).expect("the repository has the scores")).expect("the scores are whole")
}

fn corpus() -> Arc<Dataset> {
    let font = soundfont::parse(&soundfont::toy::tables().write()).expect("a SoundFont");
    Arc::new(Dataset::new(pieces(), font))
}

fn plans(split: Split, manner: Manner) -> Vec<Plan> {
    let corpus = corpus();
    (0..SONGS).map(|index| corpus.plan(split, manner, index, 3)).collect()
}

#[test]
fn an_example_depends_on_split_index_and_seed_alone() {
    let corpus = corpus();
    let ahead: Vec<_> =
        corpus.examples(Split::Train, Manner::Form, 5..11, 9, 3).map(|example| example.expect("a song")).collect();
    assert_eq!(ahead.len(), 6);
    for (index, example) in (5..11).zip(&ahead) {
        let again = corpus.example(Split::Train, Manner::Form, index, 9).expect("a song");
        assert_eq!((&again.tags, &again.lyrics, again.frames), (&example.tags, &example.lyrics, example.frames));
        assert!(again.left == example.left && again.right == example.right, "example {index} has other samples");
    }
    let words = |split, seed| corpus.plan(split, Manner::Excerpt, 5, seed).lyrics;
    assert_ne!(words(Split::Train, 9), words(Split::Train, 10));
    assert_ne!(words(Split::Train, 9), words(Split::HeldOut, 9));
}

#[test]
fn no_sample_is_clipped_and_every_song_is_whole_frames_that_end_in_silence() {
    let corpus = corpus();
    for index in 0..12 {
        let example =
            corpus.example(Split::HeldOut, [Manner::Excerpt, Manner::Form][index % 2], index, 1).expect("a song");
        for channel in [&example.left, &example.right] {
            assert_eq!(channel.len(), example.frames * render::FRAME_SAMPLES);
            let peak = channel.iter().fold(0f32, |peak, x| peak.max(x.abs()));
            assert!((0.01..=render::LOUDEST).contains(&peak), "a peak of {peak}");
            let end = (example.plan.song.seconds * f64::from(render::SAMPLE_RATE)) as usize + 1;
            assert!(channel[end.min(channel.len())..].iter().all(|x| x.abs() < 1e-6), "sound behind the end");
        }
    }
}

#[test]
fn a_song_fits_one_window_and_is_as_long_as_its_lines_say() {
    let plans = plans(Split::Train, Manner::Excerpt);
    assert!(plans.iter().all(|plan| (75..=372).contains(&plan.frames)));
    for plan in &plans {
        let lines = plan.lines();
        let played_alone = usize::from(plan.lyrics.starts_with("[Intro]"));
        assert!(lines == 0 || lines + played_alone == plan.variation.order.len(), "{}", plan.lyrics);
    }
    let ended = plans.iter().filter(|plan| plan.lyrics.contains("[Outro]")).count() as f64 / plans.len() as f64;
    assert!((0.7..0.95).contains(&ended), "{ended} of the songs say where they end");
    let mean = |of: &dyn Fn(&Plan) -> f64| plans.iter().map(of).sum::<f64>() / plans.len() as f64;
    let (lines, frames) = (|plan: &Plan| plan.lines() as f64, |plan: &Plan| plan.frames as f64);
    let (mean_lines, mean_frames) = (mean(&lines), mean(&frames));
    let covariance = mean(&|plan| (lines(plan) - mean_lines) * (frames(plan) - mean_frames));
    let spread = mean(&|plan| (lines(plan) - mean_lines).powi(2)) * mean(&|plan| (frames(plan) - mean_frames).powi(2));
    let correlation = covariance / spread.sqrt();
    assert!(correlation > 0.85, "lines and frames correlate {correlation}");
}

#[test]
fn a_song_with_a_form_lasts_about_3_seconds_a_line_and_plays_its_parts_again() {
    let plans = plans(Split::Train, Manner::Form);
    let share = |holds: &dyn Fn(&Plan) -> bool| plans.iter().filter(|plan| holds(plan)).count() as f64 / SONGS as f64;
    for plan in &plans {
        assert_eq!(plan.lines(), plan.variation.order.len(), "{}", plan.lyrics);
        assert!(plan.song.seconds < 62.0, "{} s", plan.song.seconds);
    }
    let seconds = |plan: &Plan| plan.song.seconds / plan.lines() as f64;
    let near = share(&|plan| (seconds(plan) / 3.2 - 1.0).abs() <= 0.25);
    assert!(near >= 0.85, "{near} of the songs are within 25 % of 3.2 s a line");
    assert!(share(&|plan| plan.lines() >= 12) > 0.2 && share(&|plan| plan.lines() <= 3) > 0.1);
    // Long ones play most of their phrases more than once.
    let again = |plan: &Plan| {
        let different: BTreeSet<usize> = plan.variation.order.iter().copied().collect();
        plan.lines() >= 8 && 3 * different.len() <= 2 * plan.lines()
    };
    let (long, again) = (share(&|plan| plan.lines() >= 8), share(&again));
    assert!(again > 0.6 * long, "{again} of {long} long songs");
}

#[test]
fn a_phrase_that_is_played_again_is_the_same_notes_at_the_same_place_of_a_frame() {
    let mut compared = 0;
    for plan in plans(Split::Train, Manner::Form) {
        let (order, starts) = (&plan.variation.order, &plan.song.phrases);
        let solo = plan.song.notes.iter().filter(|note| note.instrument == plan.variation.lead);
        let notes = |number: usize| -> Vec<(u8, u8, i64)> {
            let until = starts.get(number + 1).copied().unwrap_or(f64::INFINITY);
            // Notes that come early at random belong to the phrase before; ends depend on what follows.
            let inside = solo.clone().filter(|note| (starts[number] + 0.01..until - 0.01).contains(&note.start));
            inside.map(|n| (n.pitch, n.velocity, ((n.start - starts[number]) * 1e5).round() as i64)).collect()
        };
        for number in 0..order.len().saturating_sub(1) {
            let frames = starts[number] / 0.08;
            assert!((frames - frames.round()).abs() < 1e-6, "a phrase begins at {} s", starts[number]);
            // The last phrase is slower, and accompaniments end with their section.
            if plan.variation.texture == Texture::Solo
                && let Some(before) = order[..number].iter().position(|place| *place == order[number])
            {
                assert_eq!(notes(before), notes(number), "{order:?}, {number}");
                compared += 1;
            }
        }
    }
    assert!(compared > SONGS, "{compared} phrases were compared");
}

#[test]
fn a_line_has_the_syllables_of_its_phrase() {
    use vocabulary::Class::*;
    let classes = [Article, Adjective, Noun, Pronoun, Verb, ThirdPerson, Adverb, Preposition, Conjunction];
    let known: Vec<_> = classes.into_iter().flat_map(vocabulary::of).collect();
    let mut checked = 0;
    for plan in plans(Split::Train, Manner::Excerpt) {
        let lines = plan.lyrics.lines().filter(|line| !line.is_empty() && !line.starts_with('['));
        let first = plan.variation.order.len() - plan.lines();
        for (line, syllables) in lines.zip(&plan.song.syllables[first.min(plan.song.syllables.len())..]) {
            let of = |word: &str| {
                let word = word.trim_end_matches(',');
                known.iter().find(|known| known.text == word).map(|known| known.syllables)
            };
            // A line with an invented word is not counted: its syllables are not in the list.
            if let Some(counts) = line.split(' ').map(of).collect::<Option<Vec<usize>>>() {
                assert_eq!(counts.iter().sum::<usize>(), *syllables, "{line}");
                checked += 1;
            }
        }
    }
    assert!(checked > SONGS, "only {checked} lines");
}

#[test]
fn no_tune_is_in_both_splits() {
    let pieces = pieces();
    let held = scores::held_out(&pieces);
    let share = held.iter().filter(|held| **held).count() as f64 / held.len() as f64;
    assert!((0.03..0.09).contains(&share), "{share} is held out");
    let notes = |wanted: bool| -> BTreeSet<Vec<(u32, u8)>> {
        let chosen = pieces.iter().zip(&held).filter(|(_, held)| **held == wanted);
        chosen.map(|(piece, _)| piece.melody().iter().take(11).map(|note| (0, note.pitch)).collect()).collect()
    };
    assert!(notes(true).is_disjoint(&notes(false)));
    let corpus = corpus();
    let titles = |split| -> BTreeSet<String> {
        (0..corpus.len(split))
            .map(|index| corpus.plan(split, Manner::Form, index, 1).piece.title.to_lowercase())
            .collect()
    };
    assert!(titles(Split::Train).is_disjoint(&titles(Split::HeldOut)));
}

#[test]
fn notes_are_those_of_the_scale_that_the_song_is_in() {
    let (mut inside, mut all) = (0.0, 0.0);
    for plan in plans(Split::HeldOut, Manner::Excerpt) {
        let scale = plan.piece.mode.steps().map(|step| (plan.song.tonic + step) % 12);
        for note in &plan.song.notes {
            assert!(note.end > note.start && note.end <= plan.song.seconds, "{note:?}");
            all += note.end - note.start;
            inside += if scale.contains(&(note.pitch % 12)) { note.end - note.start } else { 0.0 };
        }
    }
    assert!(inside / all > 0.95, "{} of the sounding time is in the scale", inside / all);
}

#[test]
fn tags_name_the_instruments_that_play_and_no_other() {
    for plan in plans(Split::Train, Manner::Excerpt) {
        let playing: BTreeSet<&str> = plan.song.notes.iter().map(|note| note.instrument.tag).collect();
        let named = plan.tags.split(',').filter(|tag| INSTRUMENTS.iter().any(|one| one.tag == *tag));
        assert_eq!(named.collect::<BTreeSet<&str>>(), playing, "{}", plan.tags);
        for note in &plan.song.notes {
            let (low, high) = note.instrument.range;
            assert!((low..=high).contains(&note.pitch), "{note:?}");
        }
    }
}

#[test]
fn tags_and_words_are_spelled_a_token_each_and_every_text_has_an_encoding() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("tokenizer.json"), tokens::tokenizer_json()).expect("a tokenizer");
    let checkpoint = Checkpoint::open(folder.path()).expect("a folder");
    let [text_bos, text_eos] = tokens::BEGIN_END;
    let ids = SpecialIds { text_bos, text_eos, audio_eos: 1 };
    let size = tokens::vocabulary_size();
    assert!(size <= 2048, "{size} ids");
    let tokenizer = PromptTokenizer::load(&checkpoint, "tokenizer.json", ids, size).expect("it loads");
    for plan in plans(Split::Train, Manner::Excerpt) {
        let prompt = tokenizer.prompt(&plan.tags, &plan.lyrics).expect("words");
        assert!(prompt.notes.is_empty(), "{:?}", prompt.notes);
        // Begin, <tag>, tags with commas between them, </tag>, end.
        assert_eq!(prompt.ids.tags.len(), 2 * plan.tags.split(',').count() - 1 + 4, "{}", plan.tags);
    }
    let lyrics = "[Verse]\nthe morning river, sings softly\n\n[Outro]";
    assert_eq!(tokenizer.prompt("piano", lyrics).expect("words").ids.lyrics.len(), 2 + 10);
    for mark in words::MARKS {
        assert_eq!(tokenizer.prompt("piano", mark).expect("words").ids.lyrics.len(), 3, "{mark}");
    }
    for text in ["Xyzzy!", "Ärger über 猫\u{0}\u{1F600}", "<|begin_of_text|> <0x41>", "1234 €"] {
        let lyrics = tokenizer.prompt(text, text).expect("any text").ids.lyrics;
        assert!(lyrics.len() > 3 && lyrics.iter().all(|id| (*id as usize) < size), "{text}: {lyrics:?}");
        assert!(!lyrics[1..lyrics.len() - 1].iter().any(|id| *id < 3), "{text} has a special id: {lyrics:?}");
    }
}

#[test]
fn a_cut_soundfont_sounds_like_the_whole_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let [whole, cut] = ["whole.sf2", "cut.sf2"].map(|name| folder.path().join(name));
    fs::write(&whole, soundfont::toy::tables().write()).expect("a SoundFont");
    soundfont::cut(&whole, &cut).expect("it can be cut");
    let size = |path| fs::metadata(path).expect("a file").len();
    assert!(size(&cut) < size(&whole), "{} of {} bytes", size(&cut), size(&whole));
    let song = |path| {
        let font = soundfont::load(path).expect("a SoundFont");
        assert!(!font.get_presets().is_empty());
        Dataset::new(pieces(), font).example(Split::Train, Manner::Excerpt, 4, 4).expect("a song").left
    };
    assert!(song(&whole) == song(&cut));
}

#[test]
fn damaged_files_are_refused() {
    let bytes = fs::read(SCORES).expect("the repository has the scores");
    for length in [0, 1, 100, bytes.len() / 2, bytes.len() - 5] {
        assert!(scores::read(&bytes[..length]).is_err(), "{length} bytes");
    }
    let font = soundfont::toy::tables().write();
    let folder = tempfile::tempdir().expect("a folder");
    let [broken, out] = ["broken.sf2", "out.sf2"].map(|name| folder.path().join(name));
    for length in [0, 11, 40, font.len() / 2, font.len() - 30] {
        fs::write(&broken, &font[..length]).expect("a file");
        assert!(soundfont::cut(&broken, &out).is_err(), "{length} bytes");
    }
}

#[test]
fn the_list_of_tags_that_is_exported_has_those_that_songs_are_tagged_with_and_no_others() {
    let listed = KnownTags::parse(include_bytes!("../../../models/demo/tags.json")).expect("a list");
    let taught = words::TAGS.iter().copied().chain(INSTRUMENTS.iter().map(|instrument| instrument.tag));
    assert_eq!(listed.all().collect::<BTreeSet<_>>(), taught.collect());
}
