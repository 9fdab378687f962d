//! Names: patterns that they match, and the known one that a wrong one is nearest to.

/// Whether a pattern with `*` (any run) and `?` (any one byte) matches the whole text.
pub(crate) fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut of) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while of < text.len() {
        if at < pattern.len() && pattern[at] == b'*' {
            star = Some((at, of));
            at += 1;
        } else if at < pattern.len() && (pattern[at] == b'?' || pattern[at] == text[of]) {
            at += 1;
            of += 1;
        } else if let Some((star_at, star_of)) = star {
            (at, of) = (star_at + 1, star_of + 1);
            star = Some((star_at, star_of + 1));
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// A hint at the known name nearest to a wrong one, if one is near.
pub(crate) fn did_you_mean<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> String {
    let nearest = known.map(|name| (distance(wrong, name), name)).min();
    match nearest {
        Some((distance, name)) if distance <= 1 + wrong.len() / 4 => {
            format!(": did you mean `{name}`?")
        }
        _ => String::new(),
    }
}

/// Edits between two words (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, against) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(letter != against);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::WAKES;

    #[test]
    fn globs_match_whole_names() {
        for (pattern, text, expected) in [
            ("*", "anything", true),
            ("room-*", "room-1", true),
            ("room-*", "a-room-1", false),
            ("room-?", "room-1", true),
            ("room-?", "room-12", false),
            ("*a*b*", "xaxbx", true),
            ("*a*b", "xaxbx", false),
            ("", "x", false),
        ] {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn the_nearest_name_is_hinted() {
        assert_eq!(did_you_mean("on_reports", WAKES.into_iter()), ": did you mean `on_report`?");
        assert_eq!(did_you_mean("zzzzzz", WAKES.into_iter()), "");
    }
}
