//! What no server sends: settings, requests, and texts at the edges of what is taken.

use targets::input::put_bytes;
use zemi::fuzzing::SETTINGS;

use super::Corpus;

pub fn write(corpus: &Corpus) {
    for (n, request) in [
        "GET /healthz HTTP/1.1\r\nHost: zemi:8080\r\nUser-Agent: kube-probe/1.33\r\n\r\n",
        "GET /metrics?name[]=zemi HTTP/1.1\r\nAccept: text/plain\r\nConnection: close\r\n\r\n",
        "HEAD / HTTP/1.0\r\n\r\n",
        "POST /status HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        "GET / HTTP/2\r\n\r\n",
        "\x16\x03\x01\x02\r\n\r\n",
    ]
    .iter()
    .enumerate()
    {
        corpus.add("http", &format!("request-{n}"), request.as_bytes());
    }
    for (n, json) in [
        r#"{"user": "ada", "n": [1, -2.50, 1e5, true, null], "é": {"": "\u00e9\n"}}"#,
        "null",
        " [1] ",
        r#"{"a":"\u0000"}"#,
        r#"{"a":"\ud83d\ude00"}"#,
        r#"{"a":"\ud83d"}"#,
        "{'a': 1}",
        "[1e131072]",
        "caf\u{e9}",
    ]
    .iter()
    .enumerate()
    {
        for encoding in 0..3 {
            let content = [&[encoding], json.as_bytes()].concat();
            corpus.add("context", &format!("hand-{n}-{encoding}"), &content);
        }
        corpus.add(
            "value",
            &format!("json-{n}"),
            &[&[4], json.as_bytes()].concat(),
        );
        corpus.add(
            "value",
            &format!("jsons-{n}"),
            &[&[13, 4], json.as_bytes()].concat(),
        );
    }
    for (n, (choice, text)) in [
        (&[10][..], r#""a"=>"1", "b\"\\"=>NULL"#),
        (&[11], "{}{\"cast\":1}"),
        (&[12], "{(1,1),(0,0);(2,2),(1,1)}"),
        (&[13, 0], r#"{a,"b \"q\" \\",NULL,"NULL",""}"#),
        (&[13, 0], "[0:1][-2:-1]={{a,b},{c,d}}"),
        (&[13, 13, 0], r#"{"{a,b}","{NULL}"}"#),
        (&[14, 2, b'|'], "{1|2|-3}"),
        (&[15, 3, 0, 0, 0], r#"(a,,"b, ""q"" \\")"#),
        (&[15, 2, 13, 0, 15, 1, 0], r#"("{a,""b c""}","(""x y"")")"#),
        (&[13, 15, 2, 2, 1], r#"{"(1,t)","(-2,f)"}"#),
        (&[7], "2024-01-02 03:04:05.678901+05:30 BC"),
        (&[7], "infinity"),
        (&[3], "1.50e-300"),
        (&[9], "1 2 4294967295"),
    ]
    .iter()
    .enumerate()
    {
        corpus.add(
            "value",
            &format!("hand-{n}"),
            &[choice, text.as_bytes()].concat(),
        );
    }
    settings(corpus);
    answers(corpus);
}

fn settings(corpus: &Corpus) {
    let texts = [
        "db.example",
        "5432",
        "true",
        "zemi",
        "public.*,\"a.b\".c",
        "*.secret",
        "0123456789abcdef",
        "warn",
        "json",
        "sql",
        "::1",
        "/var/run/postgresql",
        "30",
        "require",
    ];
    for setting in SETTINGS {
        for (n, text) in texts.iter().enumerate() {
            let mut input = Vec::new();
            for name in ["public", "users", "secret"] {
                put_bytes(&mut input, name.as_bytes());
            }
            put(&mut input, setting.name, text);
            put(&mut input, "HASH_KEY", "0123456789abcdef");
            corpus.add(
                "settings",
                &format!("{}-{n}", setting.name.to_lowercase()),
                &input,
            );
        }
    }
}

fn put(input: &mut Vec<u8>, name: &str, text: &str) {
    let place = SETTINGS.iter().position(|setting| setting.name == name);
    input.push(place.map_or(255, |place| place as u8));
    if place.is_none() {
        put_bytes(input, name.as_bytes());
    }
    put_bytes(input, text.as_bytes());
}

fn answers(corpus: &Corpus) {
    for (n, body) in [
        "SERROR\0VERROR\0C22P02\0Minvalid input syntax for type json: \"x\"\0DToken x\0\0",
        "SFATAL\0VFATAL\0C57P01\0Mterminating connection\0Hh\0Fpostgres.c\0L3000\0\0",
        "COPY 1000\0",
        "16/B374D848",
        "it's a \"name\" \\ with everything",
    ]
    .iter()
    .enumerate()
    {
        corpus.add("answers", &format!("hand-{n}"), body.as_bytes());
    }
}
