//! Vocabulary of the lyrics: a small list, each word with the number of its syllables.

/// What part a word can play in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are grammar's own")]
pub enum Class {
    Article,
    Adjective,
    Noun,
    Pronoun,
    Verb,
    ThirdPerson,
    Adverb,
    Preposition,
    Conjunction,
}

use Class::{Adjective, Adverb, Article, Conjunction, Noun, Preposition, Pronoun, ThirdPerson, Verb};

/// The words: class, syllables, and the words with both.
pub const WORDS: &[(Class, usize, &str)] = &[
    (Article, 1, "the a my your our this that her his no each one"),
    (Article, 2, "every another any"),
    (
        Adjective,
        1,
        "old new bright dark cold warm soft sweet long slow deep low high wild still white blue gold grey \
      green red clear young light strong kind free good great small",
    ),
    (
        Adjective,
        2,
        "silent golden silver gentle empty open lonely happy hidden distant early heavy little burning quiet \
      broken tender merry weary simple holy",
    ),
    (Adjective, 3, "beautiful shimmering forgotten wandering familiar"),
    (
        Noun,
        1,
        "day night light sun moon star sky sea wind rain snow fire stone road house door heart hand eye voice song \
      dream tree leaf bird field hill shore wave boat bell time year spring home friend love hope tear smile name word \
      land dawn dusk storm cloud rose child king queen bread wine key glass lamp clock step mile sand air earth ground \
      room street town train line ring kiss life world dance tune",
    ),
    (
        Noun,
        2,
        "morning evening river water mountain valley garden window shadow summer winter autumn flower meadow ocean \
      island city table candle music fiddle harvest kettle story silence thunder whisper letter mirror mother father \
      brother sister sailor soldier stranger feather harbour village people heaven sorrow laughter moment number \
      colour",
    ),
    (Noun, 3, "melody memory history butterfly tomorrow yesterday afternoon company harmony"),
    (Pronoun, 1, "i you we they"),
    (
        Verb,
        1,
        "sing sang hear call came go know keep hold find see wait stand fall rise turn shine ring run fly grow \
      dream dance play sleep walk burn break give take leave lead lie love need say tell feel bring rest stay",
    ),
    (
        Verb,
        2,
        "wander follow listen gather carry whisper answer arrive return begin believe forget wonder \
      tremble travel linger",
    ),
    (Verb, 3, "surrender discover remember"),
    (
        ThirdPerson,
        1,
        "hums clears rings calls comes goes knows keeps holds finds waits stands falls shines runs flies \
      grows sleeps walks burns sings lives stays came sang turns plays leads lies feels brings rests breaks",
    ),
    (
        ThirdPerson,
        2,
        "wanders follows listens gathers carries whispers opens answers arrives returns begins trembles \
      travels lingers rises dances",
    ),
    (ThirdPerson, 3, "surrenders remembers"),
    (Adverb, 1, "now then here there on out up down home back more once well far near too so yet still"),
    (
        Adverb,
        2,
        "again away always never slowly softly gently only ever over today tonight alone together along below \
      above",
    ),
    (Adverb, 3, "forever evermore silently"),
    (Preposition, 1, "in on at by to through from for with like past round as of"),
    (Preposition, 2, "into over under after before between upon beyond without until across around behind"),
    (Conjunction, 1, "and but or while when where till for if"),
];

/// Syllables that are sung where no words are meant.
pub const FILLERS: &[&str] = &["la", "oh", "na", "hey", "doo", "ah"];
/// Words that users' lines often have and our sentences do not: they are spelled whole, and stand among the invented.
pub const OTHERS: &[&str] =
    &["it", "he", "she", "me", "us", "them", "is", "are", "was", "be", "let", "do", "not", "so", "all"];

/// Begins and ends of syllables, of which invented words are made and unknown ones are spelled.
pub const ONSETS: &[&str] = &[
    "b", "c", "ch", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "sh", "st", "t", "th", "tr", "v", "w",
    "y", "z", "br", "cl", "fl", "gr", "",
];
/// The middle of a syllable.
pub const NUCLEI: &[&str] = &["a", "e", "i", "o", "u", "ai", "ea", "ee", "oo", "ou", "y"];
/// The end of a syllable.
pub const CODAS: &[&str] = &["", "n", "r", "l", "s", "t", "m", "nd", "ng", "d", "ck", "st"];

/// A word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// As it is written.
    pub text: &'static str,
    /// Notes that it is sung on.
    pub syllables: usize,
}

/// The words of a class.
pub fn of(class: Class) -> impl Iterator<Item = Word> {
    let lists = WORDS.iter().filter(move |(found, ..)| *found == class);
    lists.flat_map(|(_, syllables, list)| list.split_whitespace().map(|text| Word { text, syllables: *syllables }))
}
