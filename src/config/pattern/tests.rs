#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;

fn table(text: &str) -> Pattern {
    let list = Pattern::parse_list(text).unwrap();
    assert_eq!(list.len(), 1, "{text}");
    list.into_iter().next().unwrap()
}

fn column(text: &str) -> ColumnPattern {
    let list = ColumnPattern::parse_list(text).unwrap();
    assert_eq!(list.len(), 1, "{text}");
    list.into_iter().next().unwrap()
}

#[test]
fn a_table_without_schema_is_meant_in_every_schema() {
    assert!(table("users").matches("public", "users"));
    assert!(table("users").matches("other", "users"));
    assert!(table("public.users").matches("public", "users"));
    assert!(!table("public.users").matches("other", "users"));
    assert!(!table("users").matches("users", "orders"));
}

#[test]
fn names_keep_their_case_and_are_whole() {
    assert!(table("Users").matches("public", "Users"));
    assert!(!table("Users").matches("public", "users"));
    assert!(!table("users").matches("public", "Users"));
    assert!(!table("user").matches("public", "users"));
    assert!(!table("sers").matches("public", "users"));
}

#[test]
fn a_star_stands_for_any_characters() {
    for (pattern, name, expected) in [
        ("*", "", true),
        ("*", "anything", true),
        ("**", "anything", true),
        ("a*", "a", true),
        ("a*", "ab", true),
        ("a*", "ba", false),
        ("*a", "ba", true),
        ("*a", "ab", false),
        ("a*b", "ab", true),
        ("a*b", "axxb", true),
        ("a*b", "a", false),
        ("aa*aa", "aaa", false),
        ("aa*aa", "aaaa", true),
        ("*b*", "abc", true),
        ("*b*", "ac", false),
        ("*ab*ab*", "abab", true),
        ("*ab*ab*", "aba", false),
        ("a*b*c", "a_b_b_c", true),
        ("a*b*b", "axb", false),
        ("ü*ß", "üüß", true),
        ("?", "x", false),
        ("[a]", "[a]", true),
    ] {
        assert_eq!(
            table(pattern).matches("s", name),
            expected,
            "{pattern} {name}"
        );
    }
    assert!(table("audit_*.*").matches("audit_2026", "x"));
    assert!(!table("audit_*.*").matches("public", "audit_2026"));
}

#[test]
fn quotes_take_dots_commas_stars_and_blanks_literally() {
    let list = Pattern::parse_list(r#""my.schema"."t*", "a,b" , " x ". y ,"q""q""#).unwrap();
    assert_eq!(list.len(), 4);
    assert!(list[0].matches("my.schema", "t*"));
    assert!(!list[0].matches("my.schema", "tt"));
    assert!(list[1].matches("any", "a,b"));
    assert!(list[2].matches(" x ", "y"));
    assert!(!list[2].matches("x", "y"));
    assert!(list[3].matches("any", "q\"q"));
    assert!(table(r#""my.schema".t*"#).matches("my.schema", "tt"));
}

#[test]
fn lists_are_trimmed_and_empty_text_is_an_empty_list() {
    let list = Pattern::parse_list(" a ,\tb.c ").unwrap();
    let texts: Vec<String> = list.iter().map(Pattern::to_string).collect();
    assert_eq!(texts, ["a", "b.c"]);
    assert!(list[1].matches("b", "c"));
    assert_eq!(Pattern::parse_list(""), Ok(Vec::new()));
    assert_eq!(ColumnPattern::parse_list(""), Ok(Vec::new()));
}

#[test]
fn a_column_has_a_table_and_perhaps_a_schema() {
    assert!(column("users.email").matches("any", "users", "email"));
    assert!(column("public.users.email").matches("public", "users", "email"));
    assert!(!column("public.users.email").matches("other", "users", "email"));
    assert!(!column("users.email").matches("any", "orders", "email"));
    assert!(!column("users.email").matches("any", "users", "name"));
    assert!(column("*.password*").matches("any", "orders", "password_hash"));
    assert!(column(r#"a."b.c""#).matches("any", "a", "b.c"));
    assert_eq!(column(" users.email ").to_string(), "users.email");
}

#[test]
fn entries_without_text_name_nothing() {
    let names = |list: &str| -> Vec<String> {
        let tables = Pattern::parse_list(list).unwrap();
        tables.iter().map(Pattern::to_string).collect()
    };
    for list in ["", " ", ",", " ,\t, "] {
        assert_eq!(names(list), [""; 0], "{list:?}");
    }
    for list in ["a,b", ",a,b", "a,,b", "a , , b,", "a,b, "] {
        assert_eq!(names(list), ["a", "b"], "{list:?}");
    }
    assert_eq!(names("\",\",,"), ["\",\""]);
    assert_eq!(ColumnPattern::parse_list("a.b,, ").unwrap().len(), 1);
}

#[test]
fn a_bad_table_entry_is_refused_with_its_place_and_reason() {
    for (list, expected) in [
        ("a,.b", "entry 2 of the list, \".b\", has an empty name"),
        ("a,,.b", "entry 3 of the list, \".b\", has an empty name"),
        ("a.", "entry 1 of the list, \"a.\", has an empty name"),
        (
            "\"\"",
            "entry 1 of the list, \"\\\"\\\"\", has an empty name",
        ),
        (
            "a.b.c",
            "entry 1 of the list, \"a.b.c\", has more than two names",
        ),
        (
            "a.b.c.d",
            "entry 1 of the list, \"a.b.c.d\", has more than two names",
        ),
        (
            "\"a",
            "entry 1 of the list, \"\\\"a\", has a quoted name without its end",
        ),
        (
            "\"",
            "entry 1 of the list, \"\\\"\", has a quoted name without its end",
        ),
        (
            "\"a\"b",
            "entry 1 of the list, \"\\\"a\\\"b\", has a quoted name without its end",
        ),
        (
            "\"a\"b\"c\"",
            "entry 1 of the list, \"\\\"a\\\"b\\\"c\\\"\", has text beside a quoted name",
        ),
        (
            "a\"b\"",
            "entry 1 of the list, \"a\\\"b\\\"\", has a quote inside a name",
        ),
    ] {
        assert_eq!(Pattern::parse_list(list).unwrap_err(), expected, "{list}");
    }
}

#[test]
fn a_bad_column_entry_is_refused_with_its_place_and_reason() {
    for (list, expected) in [
        (
            "a.b,email",
            "entry 2 of the list, \"email\", names no table",
        ),
        (
            "a.b.c.d",
            "entry 1 of the list, \"a.b.c.d\", has more than three names",
        ),
        ("a..c", "entry 1 of the list, \"a..c\", has an empty name"),
        ("a.b, ,c", "entry 3 of the list, \"c\", names no table"),
    ] {
        assert_eq!(
            ColumnPattern::parse_list(list).unwrap_err(),
            expected,
            "{list}"
        );
    }
}

/// Against the obvious recursive definition, over all short patterns and names of two letters.
#[test]
fn matching_agrees_with_the_definition() {
    fn defined(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, _) => name.is_empty(),
            (Some((b'*', rest)), _) => {
                (0..=name.len()).any(|skipped| defined(rest, &name[skipped..]))
            }
            (Some((a, pattern)), Some((b, name))) => a == b && defined(pattern, name),
            (Some(_), None) => false,
        }
    }
    fn words(letters: &[u8], longest: u32) -> Vec<String> {
        let count = letters.len();
        let word = |length: u32, mut number: usize| {
            let letter = |_| {
                let letter = letters[number % count];
                number /= count;
                char::from(letter)
            };
            (0..length).map(letter).collect()
        };
        (1..=longest)
            .flat_map(|length| (0..count.pow(length)).map(move |number| (length, number)))
            .map(|(length, number)| word(length, number))
            .collect()
    }
    let names = words(b"ab", 6);
    for pattern in words(b"ab*", 5) {
        let glob = Glob::parse(&pattern).unwrap();
        for name in &names {
            let expected = defined(pattern.as_bytes(), name.as_bytes());
            assert_eq!(glob.matches(name), expected, "{pattern} {name}");
        }
    }
}

#[test]
fn a_hostile_pattern_takes_no_exponential_time() {
    let pattern = table(&"a*".repeat(10_000));
    assert!(!pattern.matches("s", &format!("{}b", "a".repeat(9_999))));
    assert!(pattern.matches("s", &"a".repeat(20_000)));
}
