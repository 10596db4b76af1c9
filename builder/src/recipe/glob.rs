//! Path patterns: `*` and `?` stay within a name, `**` crosses folders, `[a-z]` is one character.

/// Whether the whole of `path` fits `pattern`. Time is bounded by the product of their lengths.
pub fn fits(pattern: &str, path: &str) -> bool {
    let parts: Vec<&str> = pattern.split('/').collect();
    let names: Vec<&str> = path.split('/').collect();
    // reached[n]: the parts so far fit the first n names.
    let mut reached = vec![false; names.len() + 1];
    reached[0] = true;
    for part in parts {
        let mut next = vec![false; names.len() + 1];
        for place in 0..=names.len() {
            if part == "**" {
                next[place] = reached[place] || (place > 0 && next[place - 1]);
            } else if place > 0 {
                next[place] = reached[place - 1] && name_fits(part, names[place - 1]);
            }
        }
        reached = next;
    }
    reached[names.len()]
}

fn name_fits(pattern: &str, name: &str) -> bool {
    let tokens = tokens(pattern);
    let name: Vec<char> = name.chars().collect();
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    for token in &tokens {
        let mut next = vec![false; name.len() + 1];
        for place in 0..=name.len() {
            next[place] = match token {
                Token::Any => reached[place] || (place > 0 && next[place - 1]),
                one => place > 0 && reached[place - 1] && one.takes(name[place - 1]),
            };
        }
        reached = next;
    }
    reached[name.len()]
}

enum Token {
    Any,
    One,
    Is(char),
    Of { not: bool, ranges: Vec<(char, char)> },
}

impl Token {
    fn takes(&self, c: char) -> bool {
        match self {
            Token::Any | Token::One => true,
            Token::Is(own) => *own == c,
            Token::Of { not, ranges } => {
                ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *not
            }
        }
    }
}

fn tokens(pattern: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        found.push(match c {
            '*' => Token::Any,
            '?' => Token::One,
            '\\' => Token::Is(rest.next().unwrap_or('\\')),
            '[' => match class(rest.as_str()) {
                Some((token, length)) => {
                    rest = rest.as_str()[length..].chars();
                    token
                }
                None => Token::Is('['),
            },
            c => Token::Is(c),
        });
    }
    found
}

/// A character class after its `[`, and how many bytes it takes; none if it is not closed.
fn class(text: &str) -> Option<(Token, usize)> {
    let close = text.char_indices().skip(1).find(|(_, c)| *c == ']')?.0;
    let inside = &text[..close];
    let (not, inside) = match inside.strip_prefix(['^', '!']) {
        Some(inside) => (true, inside),
        None => (false, inside),
    };
    let mut ranges = Vec::new();
    let chars: Vec<char> = inside.chars().collect();
    let mut place = 0;
    while place < chars.len() {
        if chars.get(place + 1) == Some(&'-') && place + 2 < chars.len() {
            ranges.push((chars[place], chars[place + 2]));
            place += 3;
        } else {
            ranges.push((chars[place], chars[place]));
            place += 1;
        }
    }
    Some((Token::Of { not, ranges }, close + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::fits;

    #[test]
    fn patterns_fit_as_people_expect() {
        for (pattern, path, expected) in [
            ("*.psd", "a.psd", true),
            ("*.psd", "art/a.psd", false),
            ("**/*.psd", "art/old/a.psd", true),
            ("**/*.psd", "a.psd", true),
            ("docs/**", "docs/a/b", true),
            ("docs/**", "docsx/a", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[", "[", true),
            ("a/*/c", "a/b/c", true),
            ("a/*/c", "a/b/b/c", false),
            ("é*", "éclair", true),
        ] {
            assert_eq!(fits(pattern, path), expected, "{pattern} {path}");
        }
    }

    proptest! {
        #[test]
        fn no_pattern_panics_and_every_plain_path_fits_itself(
            pattern in "[a*?\\[\\]\\\\^!/é-]{0,12}", path in "[aé/x-]{0,12}"
        ) {
            let _ = fits(&pattern, &path);
            prop_assert!(fits(&path, &path));
        }
    }
}
