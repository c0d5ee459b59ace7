//! What the writer promises whatever the bytes are. What PostgreSQL itself says is in `judged.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use proptest::collection::btree_map;
use proptest::prelude::*;

use super::*;
use crate::change::json::{AskNothing, CompositeField, JSONB_MAX_BYTES, builtin};
use crate::error::Kind;
use crate::lsn::Oid;

/// Answers a cast with what it was told to, or not at all, and notes what it was asked.
struct Answer(&'static [u8], Option<bool>, Vec<String>);

impl Ask for Answer {
    fn to_json(&mut self, type_oid: Oid, text: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        self.2
            .push(format!("{}::{type_oid}", String::from_utf8_lossy(text)));
        out.extend_from_slice(self.0);
        match self.1 {
            Some(is_json) => Ok(is_json),
            None => Err(Error::new(Kind::Stopped, "not answered")),
        }
    }
}

fn write(value_type: &ValueType, text: &str) -> (String, Outcome) {
    let mut out = b"before".to_vec();
    let outcome = Writer::new().write(&mut out, value_type, text.as_bytes(), &mut AskNothing);
    let outcome = outcome.unwrap();
    let json = String::from_utf8(out).unwrap();
    (json.strip_prefix("before").unwrap().to_owned(), outcome)
}

fn composite(fields: &[(&str, ValueType)]) -> ValueType {
    let field =
        |(name, value_type): &(&str, ValueType)| CompositeField::new(name, value_type.clone());
    ValueType::Composite(fields.iter().map(field).collect())
}

fn cast() -> ValueType {
    ValueType::Cast {
        type_oid: Oid(20_000),
    }
}

fn replaced(json: &str, reason: Reason) -> (String, Outcome) {
    (json.to_owned(), Outcome::Replaced(reason))
}

#[test]
fn what_is_no_output_of_its_type_becomes_a_counted_string() {
    for (value_type, text) in [
        (ValueType::Bool, "true"),
        (ValueType::Number, "1x"),
        (ValueType::Number, "NaN"),
        (ValueType::Number, "01"),
        (ValueType::Number, ""),
        (ValueType::Float, "nan"),
        (ValueType::Float, "inf"),
        (ValueType::Json, "{"),
        (ValueType::Date, "1/2/2024"),
        (ValueType::Hstore, "a=>b"),
        (ValueType::Hstore, "'a'=>'b', "),
        (ValueType::Int2Vector, "1  2"),
        (ValueType::Int2Vector, "1 "),
        (ValueType::OidVector, "1 x"),
        (cast(), "anything"),
    ] {
        let text = text.replace('\'', "\"");
        let (json, outcome) = write(&value_type, &text);
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        assert!(matches!(outcome, Outcome::Replaced(_)), "{text}");
    }
}

#[test]
fn array_literals_that_no_server_prints_become_a_string() {
    let numbers = ValueType::array_of(ValueType::Number);
    for text in [
        "",
        "{",
        "}",
        "{}}",
        "{1",
        "{1,}",
        "{,1}",
        "{1}}",
        "{{1}",
        "{{1},2}",
        "{1,{2}}",
        "{{}}",
        "{1} ",
        " {1}",
        "{1}{2}",
        "{{1}{2}}",
        "[0:1]{1,2}",
        "[x]={1}",
        "[0:1]",
        "1",
        "{{{{{{{1}}}}}}}",
        "{\"1}",
        "{\"1\"2}",
        "{1\"2\"}",
        "{1\\2}",
        "{}{}",
        "{{1},{}}",
    ] {
        let json = serde_json::to_string(text).unwrap();
        assert_eq!(
            write(&numbers, text),
            replaced(&json, Reason::Malformed),
            "{text}"
        );
    }
    assert_eq!(write(&numbers, "{{{{{{1}}}}}}").0, "[[[[[[1]]]]]]");
    assert_eq!(
        write(&numbers, "[-2:-1]={1,2}"),
        ("[1,2]".into(), Outcome::Ok)
    );
}

#[test]
fn only_the_part_that_jsonb_refuses_is_replaced() {
    assert_eq!(
        write(
            &ValueType::array_of(ValueType::Json),
            r#"{"[1, 2]","\"\\u0000\"",NULL}"#
        ),
        replaced(r#"[[1, 2],"\"\\u0000\"",null]"#, Reason::NulEscape)
    );
    assert_eq!(
        write(
            &composite(&[("a", ValueType::Json), ("b", ValueType::Bool)]),
            r#"("""\\ud800""",t)"#
        ),
        replaced(r#"{"a":"\"\\ud800\"","b":true}"#, Reason::LoneSurrogate)
    );
}

#[test]
fn a_composite_that_does_not_fit_its_catalog_facts_writes_nothing() {
    let two = composite(&[("a", ValueType::Number), ("b", ValueType::Text)]);
    let fits = (r#"{"a":1,"b":"x"}"#.into(), Outcome::Ok);
    assert_eq!(write(&two, "(1,x)"), fits);
    let nothing = (String::new(), Outcome::Mismatch);
    for text in ["(1)", "()", "(1,x,)", "(1,x,y)", "(x,y)"] {
        assert_eq!(write(&two, text), nothing, "{text}");
        let quoted = format!("{{NULL,\"{text}\"}}");
        assert_eq!(
            write(&ValueType::array_of(two.clone()), &quoted),
            nothing,
            "{text}"
        );
    }
    assert_eq!(write(&composite(&[]), "(1)"), nothing);
    assert_eq!(write(&composite(&[]), "()"), ("{}".into(), Outcome::Ok));
    // Text that is no composite at all is none of another time either.
    for text in [
        "",
        "1,x",
        "(1,x",
        "(1,x)y",
        "(1,\"x)",
        "(1,x\"y\")",
        "(1,x(y)",
    ] {
        assert_eq!(
            write(&two, text).1,
            Outcome::Replaced(Reason::Malformed),
            "{text}"
        );
    }
    let mut writer = Writer::new();
    let mut out = Vec::new();
    let mut write = |value_type: &ValueType, text: &[u8]| {
        let outcome = writer.write(&mut out, value_type, text, &mut AskNothing);
        outcome.unwrap()
    };
    write(&two, b"(x,y)");
    // The state of a failed value does not stay behind.
    write(&ValueType::Number, b"x");
    assert_eq!(out, b"\"x\"");
    assert_eq!(
        write_as_text(&mut out, 1, b"(x,y)", Reason::TypeChanged),
        Outcome::Replaced(Reason::TypeChanged)
    );
    assert_eq!(out, b"\"\"(x,y)\"");
}

#[test]
fn a_cast_is_asked_for_and_its_answer_is_checked() {
    let asked = |answer: &'static [u8], ok: bool| {
        let mut answer = Answer(answer, Some(ok), Vec::new());
        let mut out = Vec::new();
        let array = ValueType::array_of(cast());
        let outcome = Writer::new().write(&mut out, &array, br#"{a,"b \"c"}"#, &mut answer);
        assert_eq!(answer.2, ["a::20000", "b \"c::20000"]);
        (String::from_utf8(out).unwrap(), outcome.unwrap())
    };
    assert_eq!(
        asked(b"{\"x\": 1}", true),
        (r#"[{"x": 1},{"x": 1}]"#.into(), Outcome::Ok)
    );
    let as_text = replaced(r#"["a","b \"c"]"#, Reason::CastFailed);
    assert_eq!(asked(b"1", false), as_text);
    assert_eq!(asked(b"not json", true), as_text);
    assert_eq!(asked(b"", true), as_text);
}

#[test]
fn a_question_that_is_not_answered_writes_nothing_and_leaves_nothing_behind() {
    let nested = composite(&[("n", ValueType::Number), ("c", ValueType::array_of(cast()))]);
    let text = br#"(1,"{a,b}")"#;
    let mut writer = Writer::new();
    let mut out = b"before".to_vec();
    let mut silent = Answer(b"half an answ", None, Vec::new());
    let error = writer.write(&mut out, &nested, text, &mut silent);
    assert_eq!(error.unwrap_err().kind(), Kind::Stopped);
    assert_eq!((out.as_slice(), silent.2.len()), (&b"before"[..], 1));
    let mut answer = Answer(b"7", Some(true), Vec::new());
    let outcome = writer.write(&mut out, &nested, text, &mut answer);
    assert_eq!(outcome.unwrap(), Outcome::Ok);
    assert_eq!(out, br#"before{"n":1,"c":[7,7]}"#);
}

#[test]
fn types_nested_without_end_end() {
    let mut value_type = ValueType::Number;
    let mut text = "1".to_owned();
    for _ in 0..200 {
        value_type = ValueType::array_of(value_type);
    }
    for _ in 0..14 {
        text = format!("{{{}}}", serde_json::to_string(&text).unwrap());
    }
    let (json, outcome) = write(&value_type, &text);
    assert_eq!(outcome, Outcome::Replaced(Reason::Malformed));
    assert_eq!(json, format!("{}\"1\"{}", "[".repeat(14), "]".repeat(14)));
    let mut writer = Writer {
        nested: MAX_NESTED_TYPES,
        ..Writer::default()
    };
    let outcome = writer.write(
        &mut Vec::new(),
        &value_type,
        text.as_bytes(),
        &mut AskNothing,
    );
    assert_eq!(outcome.unwrap(), Outcome::Replaced(Reason::TooDeep));
}

#[test]
fn what_is_too_large_is_left_out_and_what_is_just_not_is_kept() {
    let mut writer = Writer::new();
    writer.limits = Limits {
        weigh_from: 24,
        bytes: 64,
        elements: 6,
        pairs: 6,
    };
    let mut write = |value_type: &ValueType, text: &str| {
        let mut out = b"before".to_vec();
        let outcome = writer.write(&mut out, value_type, text.as_bytes(), &mut AskNothing);
        (String::from_utf8(out).unwrap(), outcome.unwrap())
    };
    let text = "a".repeat(52);
    let whole = format!("before\"{text}\"");
    assert_eq!(write(&ValueType::Text, &text), (whole, Outcome::Ok));
    let omitted = |bytes: usize| {
        replaced(
            &format!("before{{\"zemi_omitted\":\"larger than jsonb can be\",\"bytes\":{bytes}}}"),
            Reason::TooLarge,
        )
    };
    for value_type in [ValueType::Text, ValueType::Number] {
        for bytes in [53, 64, 65, 200] {
            assert_eq!(write(&value_type, &"a".repeat(bytes)), omitted(bytes));
        }
    }
    // Twelve bytes of jsonb for each two of text; as a string of the text it still fits.
    let numbers = ValueType::array_of(ValueType::Number);
    let text = "{10,10,10,10,10,10,10,10}";
    let as_string = replaced(&format!("before\"{text}\""), Reason::TooManyElements);
    assert_eq!(write(&numbers, text), as_string);
    let text = "[1000,2000,3000,4000,5000]";
    let as_string = replaced(&format!("before\"{text}\""), Reason::TooLarge);
    assert_eq!(write(&ValueType::Json, text), as_string);
}

#[test]
fn a_string_beyond_jsonb_is_left_out_of_a_value_that_is_written_as_text() {
    let mut out = b"before, half a value".to_vec();
    let text = vec![b'a'; JSONB_MAX_BYTES + 1];
    write_as_text(&mut out, 6, &text, Reason::TypeChanged);
    assert_eq!(
        out,
        b"before{\"zemi_omitted\":\"larger than jsonb can be\",\"bytes\":268435456}"
    );
}

#[test]
fn scratch_buffers_are_kept_but_large_ones_are_not() {
    let mut writer = Writer::new();
    let texts = ValueType::array_of(ValueType::Text);
    let mut write = |text: &[u8]| {
        let outcome = writer.write(&mut Vec::new(), &texts, text, &mut AskNothing);
        outcome.unwrap();
        writer.spare.len()
    };
    assert_eq!(write(br#"{"a\"b","c\"d"}"#), 1);
    let large = format!("{{\"{}\"}}", "\\\"".repeat(2 * MAX_KEPT_SCRATCH));
    assert_eq!(write(large.as_bytes()), 0);
}

/// All kinds of types that a column can have.
fn any_type() -> impl Strategy<Value = ValueType> {
    let leaf = prop_oneof![
        Just(ValueType::Bool),
        Just(ValueType::Number),
        Just(ValueType::Float),
        Just(ValueType::Json),
        Just(ValueType::Date),
        Just(ValueType::Timestamp),
        Just(ValueType::TimestampTz),
        Just(ValueType::Text),
        Just(ValueType::Int2Vector),
        Just(ValueType::OidVector),
        Just(ValueType::Hstore),
        Just(cast()),
        Just(builtin(Oid(1020)).unwrap()),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(ValueType::array_of),
            prop::collection::vec(inner, 0..3).prop_map(|types| {
                let field = |value_type| CompositeField::new("f\"", value_type);
                ValueType::Composite(types.into_iter().map(field).collect())
            }),
        ]
    })
}

/// Texts of the bytes that have a meaning somewhere, and any bytes at all.
fn any_text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => "[\\[\\]{}()\"\\\\,;:=> .+eNtfu0-9-]{1,4}".prop_map(String::into_bytes),
        1 => prop::sample::select(vec![
            "NULL", "null", "true", "\\u0000", "\\ud83d", "\\ude00", "=>", "\"\"", "Infinity",
            "1e5",
            "2024-01-02", " 03:04:05", "+00", " BC", "{\"a\":1}", "(1,2)", "\"k\"=>\"v\"", ", ",
        ]).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..3),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// An array literal of `texts` as `array_out` quotes them when it has to.
fn array_literal(texts: &[Option<String>]) -> String {
    let element = |text: &Option<String>| match text {
        None => "NULL".to_owned(),
        Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
    };
    format!(
        "{{{}}}",
        texts.iter().map(element).collect::<Vec<_>>().join(",")
    )
}

/// A composite literal of `texts` as `record_out` quotes them when it has to.
fn composite_literal(texts: &[Option<String>]) -> String {
    let field = |text: &Option<String>| match text {
        None => String::new(),
        Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\"\"")),
    };
    format!(
        "({})",
        texts.iter().map(field).collect::<Vec<_>>().join(",")
    )
}

fn some_texts() -> impl Strategy<Value = Vec<Option<String>>> {
    prop::collection::vec(prop::option::of("[^\0]{0,8}"), 1..5)
}

proptest! {
    #[test]
    fn whatever_the_bytes_are_one_valid_json_value_comes_out(
        value_type in any_type(),
        text in any_text(),
        answer in prop::sample::select(vec!["1", "{", ""]),
    ) {
        let mut out = b"before".to_vec();
        let mut ask = Answer(answer.as_bytes(), Some(true), Vec::new());
        let mut writer = Writer::new();
        let outcome = writer.write(&mut out, &value_type, &text, &mut ask).unwrap();
        prop_assert_eq!(&out[..6], b"before");
        prop_assert_eq!((writer.nested, writer.composites), (0, 0));
        if outcome == Outcome::Mismatch {
            prop_assert_eq!(out.len(), 6);
        } else {
            let parsed = serde_json::from_slice::<serde_json::Value>(&out[6..]);
            prop_assert!(parsed.is_ok(), "{:?}", String::from_utf8_lossy(&out));
            prop_assert_eq!(check(&out[6..]), Ok(()));
        }
    }

    #[test]
    fn the_checker_and_another_json_parser_agree(text in any_text()) {
        let parsed = serde_json::from_slice::<serde_json::Value>(&text).is_ok();
        match check(&text) {
            Ok(()) => prop_assert!(parsed),
            Err(Reason::Malformed | Reason::NotUtf8) => prop_assert!(!parsed),
            Err(_) => {}
        }
    }

    #[test]
    fn texts_survive_arrays_and_composites_of_each_other(
        texts in some_texts(),
        more in some_texts(),
    ) {
        let in_composite = texts.iter().map(|_| ("f", ValueType::Text)).collect::<Vec<_>>();
        let row = composite_literal(&texts);
        let rows = [Some(row), None, Some(composite_literal(&texts))];
        let outer = composite(&[
            ("rows", ValueType::array_of(composite(&in_composite))),
            ("more", ValueType::array_of(ValueType::Text)),
        ]);
        let literal = composite_literal(&[Some(array_literal(&rows)), Some(array_literal(&more))]);
        let (json, outcome) = write(&outer, &literal);
        prop_assert_eq!(outcome, Outcome::Ok);
        let field = |text| format!("\"f\":{}", serde_json::to_string(text).unwrap());
        let fields = texts.iter().map(field);
        let object = format!("{{{}}}", fields.collect::<Vec<_>>().join(","));
        let expected = format!(
            "{{\"rows\":[{object},null,{object}],\"more\":{}}}",
            serde_json::to_string(&more).unwrap()
        );
        // Equal as values: the two escape DEL and the like alike, but control characters may
        // differ.
        prop_assert_eq!(
            serde_json::from_str::<serde_json::Value>(&json).unwrap(),
            serde_json::from_str::<serde_json::Value>(&expected).unwrap()
        );
    }

    #[test]
    fn hstore_pairs_come_back(
        pairs in btree_map("[^\0]{0,6}", prop::option::of("[^\0]{0,6}"), 0..4),
    ) {
        let quote = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let pair = |(key, value): (&String, &Option<String>)| {
            format!("{}=>{}", quote(key), value.as_deref().map_or("NULL".into(), quote))
        };
        let text = pairs.iter().map(pair).collect::<Vec<_>>().join(", ");
        let (json, outcome) = write(&ValueType::Hstore, &text);
        prop_assert_eq!(outcome, Outcome::Ok);
        let found = serde_json::from_str::<BTreeMap<_, _>>(&json).unwrap();
        prop_assert_eq!(found, pairs);
    }
}
