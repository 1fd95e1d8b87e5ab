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

/// Words of other languages, one language a text: they are spelled by syllables, letters and bytes, as a user's are.
pub const FOREIGN: &[&str] = &[
    "der die das ein nacht tag herz licht regen fluss wind haus straße stimme lied wir gehen kommen singen warten heim \
      weit über grün müde schön und aber nicht immer wieder",
    "le la les une nuit jour cœur lumière pluie rivière vent maison rue voix chanson nous allons chantons reste loin sous \
      été déjà encore jamais toujours et mais où",
    "el la los una noche día corazón luz lluvia río viento casa calle voz canción vamos canta espera lejos cielo mañana \
      niño todavía nunca siempre y pero dónde",
    "o a os uma noite dia coração luz chuva rio vento casa rua voz canção vamos canta espera longe céu amanhã não ainda \
      nunca sempre e mas onde",
    "il la una notte giorno cuore luce pioggia fiume vento casa strada voce canzone andiamo canta aspetta lontano cielo \
      domani perché ancora mai sempre e ma dove",
    "noc dzień serce światło deszcz rzeka wiatr dom ulica głos pieśń idziemy śpiewaj czekaj daleko niebo jutro jeszcze \
      nigdy zawsze i ale gdzie",
    "ночь день сердце свет дождь река ветер дом улица голос песня идём пой жди далеко небо завтра ещё никогда всегда и но \
      где",
    "νύχτα μέρα καρδιά φως βροχή ποτάμι άνεμος σπίτι δρόμος φωνή τραγούδι πάμε μακριά ουρανός αύριο ποτέ πάντα και",
    "よる ひる こころ ひかり あめ かわ かぜ いえ みち こえ うた ゆめ そら あした とおく いつも もう きみ",
    "夜 日 心 光 雨 河 風 家 路 聲 歌 夢 天空 明天 遠方 永遠 你 我",
    "밤 낮 마음 빛 비 강 바람 집 길 소리 노래 꿈 하늘 내일 멀리 언제나 너",
];

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
