//! A Rust file as the checks see it: without comments, with and without what strings hold.

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Part of what is shipped.
    Product,
    /// Only compiled for tests, examples or benchmarks.
    Test,
}

/// A string literal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Literal {
    /// Line on which it begins, 1-based.
    pub(crate) line: usize,
    /// What is between the quotes, escapes as they are written.
    pub(crate) content: String,
}

/// One file.
#[derive(Debug)]
pub(crate) struct Source {
    /// Path from the root of the repository, with `/`.
    pub(crate) path: String,
    /// What the file is for.
    pub(crate) kind: Kind,
    /// The file as it is.
    pub(crate) raw: String,
    /// Its lines without comments and without what strings hold.
    pub(crate) code: Vec<String>,
    /// Its strings, in order.
    pub(crate) literals: Vec<Literal>,
}

impl Source {
    /// Reads a file. Whether a module is only for tests is said by its parent, hence `kind`.
    pub(crate) fn new(path: &str, kind: Kind, raw: &str) -> Self {
        let (code, literals) = Lexer::new(raw).run();
        let code = code.lines().map(str::to_owned).collect();
        Self { path: path.to_owned(), kind, raw: raw.to_owned(), code, literals }
    }

    /// Number of lines before the first `#[cfg(test)] mod … {` at the margin: those that are shipped.
    pub(crate) fn product_lines(&self) -> usize {
        let is_tests = |pair: &[String]| {
            pair[0].starts_with("#[cfg(test)]")
                && pair[1].starts_with("mod ")
                && pair[1].contains('{')
        };
        self.code.windows(2).position(is_tests).unwrap_or(self.code.len())
    }

    /// Whether a line (1-based) is only compiled for tests.
    pub(crate) fn is_test_line(&self, line: usize) -> bool {
        self.kind == Kind::Test || line > self.product_lines()
    }

    /// Lines of code with their numbers, 1-based.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.iter().enumerate().map(|(index, line)| (index + 1, line.as_str()))
    }

    /// Modules that the file declares as `#[cfg(test)] mod name;`.
    pub(crate) fn test_modules(&self) -> Vec<String> {
        let after = self.code.windows(2).filter(|pair| pair[0].trim() == "#[cfg(test)]");
        let elsewhere = after.filter(|pair| pair[1].trim().ends_with(';'));
        elsewhere.filter_map(|pair| declared_module(&pair[1]).map(str::to_owned)).collect()
    }
}

/// The name in `mod name;`, `pub(crate) mod name;`.
pub(crate) fn declared_module(line: &str) -> Option<&str> {
    let (before, rest) = line.trim().split_once("mod ")?;
    let visible = before.is_empty() || (before.starts_with("pub") && before.ends_with(' '));
    visible.then(|| rest.trim_end_matches([';', '{', ' ']))
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    code: String,
    literals: Vec<Literal>,
}

impl<'a> Lexer<'a> {
    fn new(raw: &'a str) -> Self {
        Self { rest: raw, line: 1, code: String::with_capacity(raw.len()), literals: Vec::new() }
    }

    fn run(mut self) -> (String, Vec<Literal>) {
        while let Some(first) = self.rest.chars().next() {
            if self.rest.starts_with("//") {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.skip(end);
            } else if self.rest.starts_with("/*") {
                self.skip_block_comment();
            } else if let Some(hashes) = self.raw_string_hashes() {
                self.raw_string(hashes);
            } else if first == '"' {
                self.string();
            } else if first == '\'' {
                self.quote();
            } else {
                self.keep(first.len_utf8());
            }
        }
        (self.code, self.literals)
    }

    fn keep(&mut self, bytes: usize) {
        let (kept, rest) = self.rest.split_at(bytes);
        self.line += kept.matches('\n').count();
        self.code.push_str(kept);
        self.rest = rest;
    }

    /// Leaves bytes out, except for line ends, so that numbers of lines stay right.
    fn skip(&mut self, bytes: usize) {
        let (left_out, rest) = self.rest.split_at(bytes);
        let lines = left_out.matches('\n').count();
        self.line += lines;
        self.code.extend(std::iter::repeat_n('\n', lines));
        self.rest = rest;
    }

    fn skip_block_comment(&mut self) {
        let (mut depth, mut at) = (0, 0);
        while at < self.rest.len() {
            let here = &self.rest.as_bytes()[at..];
            if here.starts_with(b"/*") {
                (depth, at) = (depth + 1, at + 2);
            } else if here.starts_with(b"*/") {
                (depth, at) = (depth - 1, at + 2);
            } else {
                at += 1;
            }
            if depth == 0 {
                break;
            }
        }
        self.skip(at);
    }

    /// Number of `#` when a raw string begins here.
    fn raw_string_hashes(&self) -> Option<usize> {
        let continues_a_name = self.code.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && !self.code.ends_with('b');
        let rest = self.rest.strip_prefix('r').filter(|_| !continues_a_name)?;
        let hashes = rest.len() - rest.trim_start_matches('#').len();
        rest[hashes..].starts_with('"').then_some(hashes)
    }

    fn raw_string(&mut self, hashes: usize) {
        let start = 1 + hashes + 1;
        let close = format!("\"{}", "#".repeat(hashes));
        let length = self.rest[start..].find(&close).unwrap_or(self.rest.len() - start);
        self.literal(start, length, close.len());
    }

    fn string(&mut self) {
        let bytes = self.rest.as_bytes();
        let mut at = 1;
        while at < bytes.len() && bytes[at] != b'"' {
            at += if bytes[at] == b'\\' { 2 } else { 1 };
        }
        self.literal(1, at.min(bytes.len()) - 1, 1);
    }

    fn literal(&mut self, open: usize, length: usize, close: usize) {
        let content = self.rest[open..open + length].to_owned();
        self.literals.push(Literal { line: self.line, content });
        self.keep(open);
        self.skip(length);
        self.keep(close.min(self.rest.len()));
    }

    /// A character such as `'"'`, or a lifetime.
    fn quote(&mut self) {
        let mut chars = self.rest.char_indices().skip(1);
        let end = match chars.next() {
            Some((_, '\\')) => self.rest[3..].find('\'').map(|at| 3 + at + 1),
            Some(_) => chars.next().filter(|(_, c)| *c == '\'').map(|(at, _)| at + 1),
            None => None,
        };
        match end {
            Some(end) => {
                self.code.push_str("' '");
                self.skip(end);
            }
            None => self.keep(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(raw: &str) -> String {
        Source::new("a.rs", Kind::Product, raw).code.join("\n")
    }

    #[test]
    fn comments_and_what_strings_hold_are_left_out() {
        for (raw, expected) in [
            ("a // b\nc", "a \nc"),
            ("a /* b /* c */ d\n */ e", "a \n e"),
            (r#"f("x // y")"#, r#"f("")"#),
            (r#"f("\"x", 1)"#, r#"f("", 1)"#),
            ("f(r#\"a\"b\"#, 1)", "f(r#\"\"#, 1)"),
            ("f(br\"a\\\", 1)", "f(br\"\", 1)"),
            (r#"('"', "x", '\'', '\\')"#, r#"(' ', "", ' ', ' ')"#),
            ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)"),
            ("f(\"a\nb\") // c\nd", "f(\"\n\") \nd"),
            ("four\"x\"", "four\"\""),
        ] {
            assert_eq!(code(raw), expected, "{raw}");
        }
    }

    #[test]
    fn literals_know_their_lines() {
        let source = Source::new("a.rs", Kind::Product, "x\ny(\"a\\n\",\n r\"b\")");
        let expected = [(2, "a\\n"), (3, "b")];
        let found: Vec<_> = source.literals.iter().map(|l| (l.line, l.content.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn test_code_is_told_from_product_code() {
        let raw = "fn a() {}\n#[cfg(test)]\nmod laws;\n#[cfg(test)]\nmod tests {\n}\n";
        let source = Source::new("a.rs", Kind::Product, raw);
        assert_eq!(source.product_lines(), 3);
        assert!(!source.is_test_line(3) && source.is_test_line(5));
        assert_eq!(source.test_modules(), ["laws"]);
        assert_eq!(declared_module("pub(crate) mod a;"), Some("a"));
        assert_eq!(declared_module("let mod = 1"), None);
    }
}
