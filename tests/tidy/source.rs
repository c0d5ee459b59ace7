//! Just enough of Rust's grammar for the rules: code without comments and literals, without tests,
//! and the paths that it names.

/// The code with the inside of comments, strings and character literals blanked. Every line and
/// every column stays where it was.
pub fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = chars.clone();
    let mut i = 0;
    while i < chars.len() {
        let end = match chars[i] {
            '/' if chars.get(i + 1) == Some(&'/') => line_end(&chars, i),
            '/' if chars.get(i + 1) == Some(&'*') => block_comment_end(&chars, i),
            '"' => string_end(&chars, i),
            'r' if !in_word(&chars, i, "bc") => raw_string_end(&chars, i),
            '\'' => char_end(&chars, i),
            _ => i,
        };
        for c in &mut out[i..end] {
            if *c != '\n' {
                *c = ' ';
            }
        }
        i = end.max(i + 1);
    }
    out.into_iter().collect()
}

fn line_end(chars: &[char], from: usize) -> usize {
    let rest = chars[from..].iter().position(|c| *c == '\n');
    rest.map_or(chars.len(), |n| from + n)
}

fn block_comment_end(chars: &[char], from: usize) -> usize {
    let mut depth = 0;
    let mut i = from;
    while i + 1 < chars.len() {
        match (chars[i], chars[i + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                i += 1;
                continue;
            }
        }
        i += 2;
        if depth == 0 {
            return i;
        }
    }
    chars.len()
}

fn string_end(chars: &[char], from: usize) -> usize {
    let mut i = from + 1;
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

/// Whether the character before `at` belongs to the same word; a prefix such as `b` does not count.
fn in_word(chars: &[char], at: usize, prefixes: &str) -> bool {
    let before = |back: usize| at.checked_sub(back).and_then(|n| chars.get(n)).copied();
    let word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    match before(1) {
        Some(c) if prefixes.contains(c) => word(before(2)),
        c => word(c),
    }
}

/// `from` itself where no raw string starts there (a raw identifier, or just the letter r).
fn raw_string_end(chars: &[char], from: usize) -> usize {
    let hashes = chars[from + 1..].iter().take_while(|c| **c == '#').count();
    let open = from + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return from;
    }
    let closes = |i: usize| {
        let tail = chars[i + 1..].iter().take(hashes);
        chars[i] == '"' && tail.filter(|c| **c == '#').count() == hashes
    };
    (open + 1..chars.len())
        .find(|i| closes(*i))
        .map_or(chars.len(), |i| i + 1 + hashes)
}

/// `from` itself where a lifetime starts there.
fn char_end(chars: &[char], from: usize) -> usize {
    match (chars.get(from + 1), chars.get(from + 2)) {
        (Some('\\'), _) => {
            let close = chars.iter().skip(from + 3).position(|c| *c == '\'');
            close.map_or(chars.len(), |n| from + 3 + n + 1)
        }
        (Some(_), Some('\'')) => from + 3,
        _ => from,
    }
}

/// What [`without_tests`] makes of code.
pub struct Stripped {
    /// The code with the tests blanked.
    pub code: String,
    /// The names of the test modules that are kept in files of their own.
    pub test_files: Vec<String>,
    /// How many lines the tests take.
    pub test_lines: usize,
}

/// Blanks every item behind `#[cfg(test)]` in code (of [`code_only`]).
pub fn without_tests(code: String) -> Stripped {
    const MARK: &str = "#[cfg(test)]";
    let mut stripped = Stripped {
        code,
        test_files: Vec::new(),
        test_lines: 0,
    };
    let mut from = 0;
    while let Some(start) = stripped.code[from..].find(MARK).map(|n| from + n) {
        let end = item_end(&stripped.code, start + MARK.len());
        let item = stripped.code[start + MARK.len()..end].trim();
        if let Some((head, "")) = item.rsplit_once(';')
            && let Some((_, name)) = head.trim().rsplit_once("mod ")
        {
            stripped.test_files.push(name.trim().to_owned());
        }
        let blank: String = stripped.code[start..end].chars().map(blanked).collect();
        stripped.test_lines += blank.matches('\n').count() + 1;
        stripped.code.replace_range(start..end, &blank);
        from = start + blank.len();
    }
    stripped
}

fn blanked(c: char) -> char {
    if c == '\n' { '\n' } else { ' ' }
}

/// Behind the `;` or the closing brace of the item that starts at `from`.
fn item_end(code: &str, from: usize) -> usize {
    let mut depth = 0usize;
    for (i, c) in code[from..].char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 && c == '}' {
                    return from + i + 1;
                }
            }
            ';' if depth == 0 => return from + i + 1,
            _ => {}
        }
    }
    code.len()
}

/// A word, `::`, or any other character that is no blank, with its line (from 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub line: usize,
    pub text: String,
}

impl Token {
    fn is_word(&self) -> bool {
        self.text
            .starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// The tokens of code (of [`code_only`]).
pub fn tokens(code: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (n, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let word = |c: char| c.is_alphanumeric() || c == '_';
            let length = match first {
                ':' if rest.starts_with("::") => 2,
                c if word(c) => rest.find(|c| !word(c)).unwrap_or(rest.len()),
                c => c.len_utf8(),
            };
            tokens.push(Token {
                line: n + 1,
                text: rest[..length].to_owned(),
            });
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

/// Every path that the tokens name, with its line; the trees of `use` are spelled out.
pub fn paths(tokens: &[Token]) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        if tokens[i].is_word() {
            i = path(tokens, i, &[], &mut found);
        } else {
            i += 1;
        }
    }
    found
}

/// Reads one path from `at`; returns where the next one may start.
fn path(
    tokens: &[Token],
    at: usize,
    prefix: &[String],
    found: &mut Vec<(usize, Vec<String>)>,
) -> usize {
    let mut segments = prefix.to_vec();
    if tokens[at].text != "self" || prefix.is_empty() {
        segments.push(tokens[at].text.clone());
    }
    let mut i = at + 1;
    while tokens.get(i).is_some_and(|t| t.text == "::") {
        match tokens.get(i + 1) {
            Some(next) if next.is_word() => segments.push(next.text.clone()),
            Some(next) if next.text == "{" => return tree(tokens, i + 2, &segments, found),
            _ => break,
        }
        i += 2;
    }
    found.push((tokens[at].line, segments));
    i
}

/// Reads the branches of a tree up to its closing brace.
fn tree(
    tokens: &[Token],
    from: usize,
    prefix: &[String],
    found: &mut Vec<(usize, Vec<String>)>,
) -> usize {
    let mut i = from;
    while let Some(token) = tokens.get(i) {
        match token.text.as_str() {
            "}" => return i + 1,
            "as" => i += 2,
            _ if token.is_word() => i = path(tokens, i, prefix, found),
            _ => i += 1,
        }
    }
    i
}
