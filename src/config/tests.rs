#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::path::PathBuf;

mod earlier;
mod refused;
mod secrets;
mod tls;

use super::settings::SETTINGS;
use super::*;
use crate::error::{Exit, Remedy};

const KEY: &str = "0123456789abcdef";

type Vars<'a> = &'a [(&'a str, &'a str)];

/// What is read, without how it was spelled.
fn read(vars: Vars<'_>) -> Result<(Config, Vec<String>)> {
    let vars = vars.iter().map(|(name, text)| (name.into(), text.into()));
    let (mut config, warnings) = Config::from_vars(vars)?;
    config.shown.clear();
    Ok((config, warnings))
}

/// The settings of an environment that gives no warning.
fn config(vars: Vars<'_>) -> Config {
    let (config, warnings) = read(vars).unwrap();
    assert_eq!(warnings, [""; 0]);
    config
}

fn refusal(vars: Vars<'_>) -> String {
    let Err(error) = read(vars) else {
        panic!("{vars:?} was accepted");
    };
    assert_eq!(error.kind(), Kind::Setting);
    assert_eq!(error.remedy(), Remedy::Stop(Exit::Config));
    let text = error.to_string();
    assert!(!text.contains('\n'), "{text}");
    text
}

fn given(password: &str) -> Password {
    Password::Given(Secret::new(password))
}

/// A file of this test process with this content; removed when dropped.
struct File(PathBuf);

impl File {
    fn new(name: &str, content: &[u8]) -> File {
        let path = std::env::temp_dir().join(format!("zemi-config-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        File(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn nothing_set_gives_the_defaults_of_the_documentation() {
    let config = config(&[]);
    let local = Endpoint {
        host: Host::Tcp("127.0.0.1".into()),
        port: 5432,
        database: "postgres".into(),
        user: "postgres".into(),
        password: given("postgres"),
        tls: Tls::default(),
    };
    let expected = Config {
        source: local.clone(),
        destination: local,
        connect_timeout: Duration::from_secs(10),
        slot_name: "zemi".into(),
        publication_name: "zemi".into(),
        publication_folded: None,
        slot_failover: false,
        publish_via_partition_root: true,
        tables: None,
        exclude_tables: Vec::new(),
        exclude_columns: Vec::new(),
        hash_columns: Vec::new(),
        hash_key: None,
        changes_format: ChangesFormat::Bemi,
        json_type_coercion: true,
        gin_pending_list_limit: None,
        shutdown_timeout: Duration::from_secs(30),
        cleanup_on_shutdown: false,
        log_level: LevelFilter::Info,
        log_format: LogFormat::Text,
        health_port: None,
        metrics_port: None,
        http_bind: Ipv4Addr::UNSPECIFIED.into(),
        shown: Vec::new(),
    };
    assert_eq!(config, expected);
}

#[test]
fn empty_means_unset_but_for_passwords() {
    let names = SETTINGS.iter().map(|setting| setting.name);
    let others = names.filter(|name| !name.ends_with("_PASSWORD"));
    let empty: Vec<_> = others.map(|name| (name, "")).collect();
    assert_eq!(config(&empty), config(&[]));
    assert_eq!(config(&[("DB_UNKNOWN", "")]), config(&[]));
}

#[test]
fn the_destination_takes_each_value_of_its_own_or_the_sources() {
    let source = [
        ("DB_HOST", "src"),
        ("DB_PORT", "6000"),
        ("DB_NAME", "shop"),
        ("DB_USER", "app"),
        ("DB_PASSWORD", "pw"),
    ];
    let one = config(&source);
    assert_eq!(one.source.to_string(), "src:6000");
    assert_eq!(one.source, one.destination);
    for (name, text) in [
        ("HOST", "dst"),
        ("PORT", "7000"),
        ("NAME", "audit"),
        ("USER", "writer"),
        ("PASSWORD", "other"),
    ] {
        let mut expected = one.destination.clone();
        match name {
            "HOST" => expected.host = Host::Tcp(text.into()),
            "PORT" => expected.port = 7000,
            "NAME" => expected.database = text.into(),
            "USER" => expected.user = text.into(),
            _ => expected.password = given(text),
        }
        for prefix in ["DEST_DB_", "DESTINATION_DB_"] {
            let name = format!("{prefix}{name}");
            let two = config(&[&source[..], &[(&name, text)]].concat());
            assert_eq!(two.source, one.source, "{name}");
            assert_eq!(two.destination, expected, "{name}");
        }
    }
}

#[test]
fn hosts_are_names_addresses_or_directories() {
    for (text, expected, shown) in [
        (
            "db.example.com",
            Host::Tcp("db.example.com".into()),
            "db.example.com:5432",
        ),
        ("10.0.0.1", Host::Tcp("10.0.0.1".into()), "10.0.0.1:5432"),
        ("::1", Host::Tcp("::1".into()), "[::1]:5432"),
        (
            "fe80::1%eth0",
            Host::Tcp("fe80::1%eth0".into()),
            "[fe80::1%eth0]:5432",
        ),
        (
            "/run/pg",
            Host::Unix("/run/pg".into()),
            "/run/pg/.s.PGSQL.5432",
        ),
    ] {
        let source = config(&[("DB_HOST", text)]).source;
        assert_eq!(source.host, expected);
        assert_eq!(source.to_string(), shown);
        let socket = source.socket_path();
        assert_eq!(socket.is_some(), text.starts_with('/'));
        assert!(socket.is_none_or(|path| path.to_str() == Some(shown)));
    }
    // The longest directory whose socket fits: 107 bytes with "/.s.PGSQL.5432".
    let longest = format!("/{}", "d".repeat(92));
    assert_eq!(
        config(&[("DB_HOST", &longest)]).source.to_string().len(),
        107
    );
    let text = refusal(&[("DB_HOST", &format!("{longest}d"))]);
    assert!(text.ends_with("has a path of at most 107 bytes"), "{text}");
}

#[test]
fn values_are_read_as_documented() {
    for text in ["true", "TRUE", "1", "yes", "On", " true "] {
        assert!(
            config(&[("CLEANUP_ON_SHUTDOWN", text)]).cleanup_on_shutdown,
            "{text}"
        );
    }
    for text in ["false", "False", "0", "no", "OFF"] {
        assert!(
            !config(&[("JSON_TYPE_COERCION", text)]).json_type_coercion,
            "{text}"
        );
    }
    for (text, seconds) in [
        ("0", 0),
        ("86400", 86_400),
        (" 7 ", 7),
        ("007", 7),
        ("1_000", 1000),
    ] {
        let timeout = config(&[("SHUTDOWN_TIMEOUT", text)]).shutdown_timeout;
        assert_eq!(timeout, Duration::from_secs(seconds));
    }
    for (text, level) in [
        ("off", LevelFilter::Off),
        ("error", LevelFilter::Error),
        ("err", LevelFilter::Error),
        ("ERR", LevelFilter::Error),
        ("WARN", LevelFilter::Warn),
        ("info", LevelFilter::Info),
        ("debug", LevelFilter::Debug),
        ("trace", LevelFilter::Trace),
    ] {
        assert_eq!(config(&[("LOG_LEVEL", text)]).log_level, level);
    }
    assert_eq!(config(&[("DB_PORT", "65535")]).source.port, 65535);
    assert_eq!(config(&[("DB_NAME", " my db ")]).source.database, " my db ");
    let slot = "s".repeat(63);
    assert_eq!(config(&[("SLOT_NAME", &slot)]).slot_name, slot);
    let publication = "ü".repeat(31);
    assert_eq!(
        config(&[("PUBLICATION_NAME", &publication)]).publication_name,
        publication
    );
    assert!(!config(&[("PUBLISH_VIA_PARTITION_ROOT", "off")]).publish_via_partition_root);
    assert_eq!(
        config(&[("CHANGES_FORMAT", "sql")]).changes_format,
        ChangesFormat::Sql
    );
    assert_eq!(
        config(&[("LOG_FORMAT", "json")]).log_format,
        LogFormat::Json
    );
}

#[test]
fn lists_become_patterns() {
    let config = config(&[
        ("TABLES", "public.*, Users"),
        ("EXCLUDE_TABLES", "log_*"),
        ("EXCLUDE_COLUMNS", "users.photo"),
        ("HASH_COLUMNS", "public.users.email"),
        ("HASH_KEY", KEY),
    ]);
    let tables = config.tables.unwrap();
    assert_eq!(tables.len(), 2);
    assert!(tables[0].matches("public", "orders") && tables[1].matches("other", "Users"));
    assert!(config.exclude_tables[0].matches("public", "log_1"));
    assert!(config.exclude_columns[0].matches("public", "users", "photo"));
    assert!(config.hash_columns[0].matches("public", "users", "email"));
    assert_eq!(config.hash_key.unwrap().expose(), KEY.as_bytes());
}

#[test]
fn settings_of_the_earlier_zemi_are_accepted_with_a_warning() {
    let (with, warnings) =
        read(&[("MAX_TRANSACTION_CHANGES", "1000"), ("QUERY_TIMEOUT", "0")]).unwrap();
    assert_eq!(with, config(&[]));
    assert_eq!(warnings.len(), 2);
    assert!(warnings[0].starts_with("MAX_TRANSACTION_CHANGES has no effect: memory is bounded"));
    assert!(warnings[1].starts_with("QUERY_TIMEOUT has no effect: memory is bounded"));
}

#[test]
fn unknown_variables_of_ours_get_a_warning_with_the_nearest_name() {
    for (name, nearest) in [
        ("DB_PASSWROD", "DB_PASSWORD"),
        ("DB_DATABASE", "DB_NAME"),
        ("DB_SSLMODE", "DB_SSL_MODE"),
        ("DEST_DB_HOSTS", "DEST_DB_HOST"),
        ("DESTINATION_DB_USERNAME", "DESTINATION_DB_USER"),
    ] {
        let (with, warnings) = read(&[(name, "hunter2")]).unwrap();
        assert_eq!(with, config(&[]));
        assert_eq!(
            warnings,
            [format!(
                "{name} is no setting of zemi and has no effect; the nearest one is {nearest}"
            )]
        );
    }
    let (_, warnings) = read(&[(&format!("DB_{}", "X".repeat(1_000_000)), "hunter2")]).unwrap();
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].len() < 200, "{}", warnings[0]);
    let (_, warnings) = read(&[("DB_A\n\u{1b}[2J", "x")]).unwrap();
    assert!(
        !warnings[0].chars().any(char::is_control),
        "{}",
        warnings[0]
    );
}

#[test]
fn variables_of_others_give_no_warning() {
    config(&[
        ("PATH", "/bin"),
        ("DATABASE_URL", "postgres://u:p@h/d"),
        ("MY_DB_HOST", "x"),
        // What Kubernetes and Docker set for a service that is called db.
        ("DB_SERVICE_HOST", "10.0.0.9"),
        ("DB_SERVICE_PORT", "5432"),
        ("DB_PORT_5432_TCP_ADDR", "10.0.0.9"),
    ]);
}

#[test]
fn the_first_of_two_equal_names_counts() {
    assert_eq!(
        config(&[("DB_NAME", "a"), ("DB_NAME", "b")])
            .source
            .database,
        "a"
    );
}

/// That the table and the code that reads it do not differ: each setting, set, changes something.
#[test]
fn every_setting_of_the_table_has_an_effect() {
    let file = File::new("effect", KEY.as_bytes());
    for setting in SETTINGS {
        let name = setting.name;
        let text = match name {
            _ if name.ends_with("_FILE") => file.path(),
            _ if name.ends_with("PORT") || name.ends_with("TIMEOUT") => "77",
            "INITIAL_SNAPSHOT" | "SLOT_FAILOVER" => "true",
            "PUBLISH_VIA_PARTITION_ROOT" => "false",
            "CLEANUP_ON_SHUTDOWN" => "true",
            "JSON_TYPE_COERCION" => "false",
            "MAX_TRANSACTION_CHANGES" => "5",
            "LOG_LEVEL" => "debug",
            "DB_SSL_MODE" | "DEST_DB_SSL_MODE" => "require",
            "LOG_FORMAT" => "json",
            "CHANGES_FORMAT" => "sql",
            "HASH_KEY" => KEY,
            "EXCLUDE_COLUMNS" | "HASH_COLUMNS" => "a.b",
            _ => "other",
        };
        match read(&[(name, text)]) {
            Ok((with, warnings)) => {
                let effect = with != config(&[]) || !warnings.is_empty();
                assert!(effect, "{name} has no effect");
            }
            Err(error) => {
                let text = error.to_string();
                let named = text.starts_with(name)
                    || text.starts_with(&format!("the file that {name} names"));
                assert!(named, "{error}");
            }
        }
    }
}

#[test]
fn the_web_pages_have_ports_and_an_address() {
    let config = config(&[
        ("HEALTH_PORT", "8080"),
        ("METRICS_PORT", "8080"),
        ("HTTP_BIND", "::1"),
    ]);
    assert_eq!(config.health_port, Some(8080));
    assert_eq!(config.metrics_port, Some(8080));
    assert_eq!(config.http_bind.to_string(), "::1");
}
