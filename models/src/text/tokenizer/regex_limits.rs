//! Limits on regular expressions of a tokenizer: what may backtrack without end is refused before it is compiled.
//!
//! Oniguruma backtracks. The cost of a match is the product of the choices on the way, so this counts them: nothing that
//! has a choice inside may be repeated, a sequence has few choices, and a match takes at least one character.

/// Bytes of a pattern. The longest in use, that of o200k_base, has 330.
const LONGEST: usize = 4096;
/// Groups within groups.
const DEEPEST: usize = 16;
/// Repetitions without a bound in one sequence. Each adds a power to the cost in the length of a text.
const MOST_UNBOUNDED: u64 = 2;
/// Ways through the bounded choices of one sequence.
const MOST_WAYS: u64 = 1024;
/// Repetitions with a bound: Oniguruma writes them out.
const MOST_REPEATS: u64 = 1000;

/// What a part of a pattern can match.
#[derive(Debug, Clone, Copy)]
struct Shape {
    /// Characters that it takes at least.
    least: u64,
    /// Repetitions without a bound that a match goes through.
    unbounded: u64,
    /// Ways to match, without those.
    ways: u64,
    /// Characters of the pattern once bounded repetitions are written out.
    size: u64,
}

impl Shape {
    const NOTHING: Self = Self { least: 0, unbounded: 0, ways: 1, size: 0 };
    const LETTER: Self = Self { least: 1, unbounded: 0, ways: 1, size: 1 };

    fn then(self, next: Self) -> Self {
        Self {
            least: self.least.saturating_add(next.least),
            unbounded: self.unbounded + next.unbounded,
            ways: self.ways.saturating_mul(next.ways),
            size: self.size.saturating_add(next.size),
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            least: self.least.min(other.least),
            unbounded: self.unbounded.max(other.unbounded),
            ways: self.ways.saturating_add(other.ways),
            size: self.size.saturating_add(other.size),
        }
    }
}

/// Checks a pattern.
///
/// # Errors
/// What a pattern must be, where it is not.
pub(super) fn check(pattern: &str) -> Result<(), &'static str> {
    if pattern.len() > LONGEST {
        return Err("a regular expression of at most 4096 bytes");
    }
    let mut parser = Parser { rest: pattern, depth: 0 };
    let shape = parser.alternatives()?;
    match (parser.rest.is_empty(), shape.least) {
        (false, _) => Err("a regular expression whose parentheses match"),
        (true, 0) => Err("a regular expression that takes at least one character"),
        _ => Ok(()),
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<char> {
        let letter = self.rest.chars().next()?;
        self.rest = &self.rest[letter.len_utf8()..];
        Some(letter)
    }

    fn take(&mut self, prefix: &str) -> bool {
        let rest = self.rest.strip_prefix(prefix);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// What the pattern matches up to the end, or to the parenthesis that closes the group.
    fn alternatives(&mut self) -> Result<Shape, &'static str> {
        let mut shape = self.sequence()?;
        while self.take("|") {
            shape = shape.or(self.sequence()?);
        }
        Ok(shape)
    }

    fn sequence(&mut self) -> Result<Shape, &'static str> {
        let mut shape = Shape::NOTHING;
        while !self.rest.is_empty() && !self.rest.starts_with(['|', ')']) {
            let part = self.atom()?;
            shape = shape.then(self.repeated(part)?);
            if shape.unbounded > MOST_UNBOUNDED {
                return Err("a regular expression with at most two unbounded repetitions in a sequence");
            }
            if shape.ways > MOST_WAYS || shape.size > 10 * MOST_REPEATS {
                return Err("a regular expression with fewer choices and repetitions");
            }
        }
        Ok(shape)
    }

    /// A part with the quantifier that may be behind it.
    fn repeated(&mut self, part: Shape) -> Result<Shape, &'static str> {
        let Some((least, most)) = self.quantifier() else { return Ok(part) };
        // Greedy, lazy and possessive repetitions cost the same where nothing matches.
        let _ = self.take("?") || self.take("+");
        if self.quantifier().is_some() {
            return Err("a regular expression without a quantifier of a quantifier");
        }
        if part.least == 0 {
            return Err("a regular expression without a quantifier of what takes no character");
        }
        let repeats = most != Some(0) && most != Some(1);
        if repeats && (part.unbounded > 0 || part.ways > 1) {
            return Err("a regular expression without choices or repetitions inside of a repetition");
        }
        let (unbounded, ways) = match most {
            None => (1, 1),
            Some(most) if most > MOST_REPEATS || least > most => {
                return Err("a regular expression whose repetitions are bounded by at most 1000");
            }
            Some(most) => (part.unbounded, part.ways.saturating_mul(most - least + 1)),
        };
        let size = part.size.saturating_mul(most.unwrap_or(least + 1).max(1));
        Ok(Shape { least: part.least.saturating_mul(least), unbounded, ways, size })
    }

    /// The bounds of a quantifier, if there is one.
    fn quantifier(&mut self) -> Option<(u64, Option<u64>)> {
        for (sign, bounds) in [("*", (0, None)), ("+", (1, None)), ("?", (0, Some(1)))] {
            if self.take(sign) {
                return Some(bounds);
            }
        }
        let (inside, rest) = self.rest.strip_prefix('{')?.split_once('}')?;
        let number = |digits: &str| digits.parse::<u64>().ok();
        let bounds = match inside.split_once(',') {
            None => (number(inside)?, Some(number(inside)?)),
            Some((least, "")) => (number(least)?, None),
            Some(("", most)) => (0, Some(number(most)?)),
            Some((least, most)) => (number(least)?, Some(number(most)?)),
        };
        self.rest = rest;
        Some(bounds)
    }

    fn atom(&mut self) -> Result<Shape, &'static str> {
        match self.next() {
            Some('(') => self.group(),
            Some('[') => self.class(1).map(|()| Shape::LETTER),
            Some('\\') => self.escape(),
            Some('^' | '$') => Ok(Shape::NOTHING),
            Some('*' | '+' | '?') => Err("a regular expression without a quantifier of nothing"),
            _ => Ok(Shape::LETTER),
        }
    }

    fn group(&mut self) -> Result<Shape, &'static str> {
        const UNKNOWN: &str =
            "a regular expression of plain groups, options such as (?i:…), and looks ahead and behind";
        let mut looks = false;
        if self.take("?") {
            looks = ["=", "!", "<=", "<!"].iter().any(|sign| self.take(sign));
            if !looks && !self.take(":") && !self.take(">") {
                let (options, rest) = self.rest.split_once(':').ok_or(UNKNOWN)?;
                if options.is_empty() || !options.chars().all(|option| "im-".contains(option)) {
                    return Err(UNKNOWN);
                }
                self.rest = rest;
            }
        } else if self.rest.starts_with('*') {
            return Err(UNKNOWN);
        }
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("a regular expression whose groups are nested less deep");
        }
        let shape = self.alternatives()?;
        self.depth -= 1;
        if !self.take(")") {
            return Err("a regular expression whose parentheses match");
        }
        Ok(if looks { Shape { least: 0, ..shape } } else { shape })
    }

    /// A class of characters, behind its bracket.
    fn class(&mut self, depth: usize) -> Result<(), &'static str> {
        const OPEN: &str = "a regular expression whose brackets match";
        if depth > DEEPEST {
            return Err(OPEN);
        }
        self.take("^");
        if self.rest.starts_with(']') {
            return Err("a regular expression without empty classes");
        }
        loop {
            match self.next().ok_or(OPEN)? {
                ']' => return Ok(()),
                '[' => self.class(depth + 1)?,
                '\\' => drop(self.next().ok_or(OPEN)?),
                _ => (),
            }
        }
    }

    fn escape(&mut self) -> Result<Shape, &'static str> {
        match self.next() {
            Some('b' | 'B' | 'A' | 'z' | 'Z' | 'G') => Ok(Shape::NOTHING),
            Some('p' | 'P' | 'x') if self.rest.starts_with('{') => {
                let (_, rest) = self.rest.split_once('}').ok_or("a regular expression whose braces match")?;
                self.rest = rest;
                Ok(Shape::LETTER)
            }
            Some(letter) if "dDwWsShHnrtfvae".contains(letter) || !letter.is_alphanumeric() => Ok(Shape::LETTER),
            Some('x') => self.digits(2),
            Some('u') => self.digits(4),
            _ => Err("a regular expression without back references and rare escapes"),
        }
    }

    /// A character by its number.
    fn digits(&mut self, count: usize) -> Result<Shape, &'static str> {
        let digits = self.rest.get(..count).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let digits = digits.ok_or("a regular expression whose characters have all their digits")?;
        self.rest = &self.rest[digits.len()..];
        Ok(Shape::LETTER)
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn patterns_of_tokenizers_in_use_are_accepted() {
        for pattern in [
            // Llama 3, GPT-2, o200k_base, and the built-in demo model.
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
            r"</?tag>|\[[a-z]+\]|\n\n|\n|[\p{L}']+|[^\p{L}]",
            r"[ \t\r]+",
            r"(?:ab){2,5}c",
            r"[[:alpha:]&&[^a]]+\x41\u0041\x{1F600}",
        ] {
            assert_eq!(check(pattern), Ok(()), "{pattern}");
        }
    }

    #[test]
    fn patterns_that_backtrack_without_end_or_match_nothing_are_refused() {
        for pattern in [
            "",
            "^",
            "$",
            r"\b",
            "a*",
            "a?",
            "(?=a)",
            "a|",
            "|a",
            "(a+)+$",
            "(a*)*b",
            "(a|a)+$",
            "(a|aa)*b",
            "(a?b?)+c",
            "((a{1,9}){1,9}){1,9}",
            "a{1,100000}",
            "a{2000}",
            "a**",
            "a+*",
            "a{2}{3}",
            "^*a",
            "(?=a)+a",
            "*a",
            "(",
            ")",
            "(a",
            "a)",
            "[",
            "[a",
            "[]",
            r"\1",
            r"(a)\1",
            r"\k<x>",
            r"\g<0>",
            r"\X",
            r"\R",
            r"\",
            "(?~a)",
            "(?(1)a)",
            "(*FAIL)",
            "(?{x})",
            "(?x: a)",
            "(?i)a",
            "a*b*c*d",
            r"\x4",
            r"\p{L",
        ] {
            assert!(check(pattern).is_err(), "{pattern}");
        }
        assert!(check(&"a?".repeat(30)).is_err());
        assert!(check(&format!("{}b", "(a|a)".repeat(30))).is_err());
        assert!(check(&"a".repeat(5000)).is_err());
        assert!(check(&format!("{}a{}", "(".repeat(5000), ")".repeat(5000))).is_err());
        assert!(check(&format!("{}a{}", "(".repeat(20), ")".repeat(20))).is_err());
    }
}
