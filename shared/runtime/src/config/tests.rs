use std::net::SocketAddr;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use serde::Deserialize;

use super::*;
use crate::http::HttpConfig;
use crate::telemetry::{LogConfig, LogFormat};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    http: HttpConfig,
    log: LogConfig,
    github: GitHub,
    store: Option<FilePath>,
    names: Vec<String>,
    partitions: Vec<u16>,
    labels: BTreeMap<String, String>,
    enabled: bool,
    share: f64,
    #[serde(with = "duration")]
    drain: Duration,
    seed: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GitHub {
    token: Option<Secret>,
    previous: Vec<Secret>,
    app_id: Option<u64>,
    api_url: String,
}

struct Given {
    dir: tempfile::TempDir,
    sources: Sources,
}

fn given(toml: &str) -> Given {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lockflight.toml");
    std::fs::write(&path, toml).unwrap();
    let sources = Sources {
        file: Some(path),
        ..Sources::default()
    };
    Given { dir, sources }
}

impl Given {
    fn env(mut self, name: &str, value: &str) -> Self {
        self.sources.env.push((name.to_owned(), value.to_owned()));
        self
    }

    fn flag(mut self, key: &str, value: &str) -> Self {
        self.sources.overrides.push((key.to_owned(), value.to_owned()));
        self
    }

    fn load(&self) -> Config {
        load(self.sources.clone()).unwrap().config
    }

    /// The message, with the folder taken out.
    fn refused(&self) -> String {
        let refused = load::<Config>(self.sources.clone()).unwrap_err();
        refused
            .to_string()
            .replace(&format!("{}/", self.dir.path().display()), "")
    }
}

#[test]
fn nothing_at_all_gives_the_defaults() {
    let loaded = load::<Config>(Sources::default()).unwrap();
    assert_eq!(loaded.config.http.listen.port(), 8080);
    assert!(loaded.origins.is_empty());
}

#[test]
fn each_source_is_stronger_than_the_one_before() {
    let file = "[http]\nlisten = \"127.0.0.1:1\"\n[log]\nformat = \"json\"\n";
    assert_eq!(given(file).load().http.listen.port(), 1);
    let env = given(file).env("LOCKFLIGHT_HTTP__LISTEN", "127.0.0.1:2");
    assert_eq!(env.load().http.listen.port(), 2);
    let flag = env.flag("http.listen", "127.0.0.1:3");
    let loaded = load::<Config>(flag.sources.clone()).unwrap();
    assert_eq!(loaded.config.http.listen, SocketAddr::from(([127, 0, 0, 1], 3)));
    assert_eq!(loaded.config.log.format, LogFormat::Json);
    assert_eq!(loaded.origins["http.listen"].to_string(), "flag for http.listen");
    assert!(
        loaded.origins["log.format"]
            .to_string()
            .ends_with("lockflight.toml:4:10")
    );
}

#[test]
fn text_of_the_environment_is_read_as_what_the_key_wants() {
    let config = given("")
        .env("LOCKFLIGHT_ENABLED", "TRUE")
        .env("LOCKFLIGHT_SHARE", "0.5")
        .env("LOCKFLIGHT_SEED", "18446744073709551615")
        .env("LOCKFLIGHT_DRAIN", "25s")
        .env("LOCKFLIGHT_NAMES", "a, b,,c")
        .env("LOCKFLIGHT_PARTITIONS", "[1, 0x10]")
        .env("LOCKFLIGHT_LABELS", "{ team = \"web\" }")
        .env("LOCKFLIGHT_GITHUB__APP_ID", "12")
        .env("LOCKFLIGHT_GITHUB__API_URL", "true")
        .env("LOCKFLIGHT_LOG__FORMAT", "json")
        .env("OTHER_HTTP__LISTEN", "x")
        .env("LOCKFLIGHT_CONFIG", "/etc/lockflight/config.toml")
        .load();
    assert!(config.enabled);
    assert!((config.share - 0.5).abs() < f64::EPSILON);
    assert_eq!(config.seed, u64::MAX);
    assert_eq!(config.drain, Duration::from_secs(25));
    assert_eq!(config.names, ["a", "b", "c"]);
    assert_eq!(config.partitions, [1, 16]);
    assert_eq!(config.labels["team"], "web");
    assert_eq!(config.github.app_id, Some(12));
    assert_eq!(config.github.api_url, "true");
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn every_unknown_key_is_reported_with_its_place_and_a_guess() {
    let refused = given("[http]\nlsten = \"x\"\n\n[githb]\na = 1\n[colour]\n")
        .env("LOCKFLIGHT_GITHUB__TOKN_FILE", "x")
        .flag("log.formatt", "json")
        .refused();
    assert_eq!(
        refused.lines().collect::<Vec<_>>(),
        [
            "lockflight.toml:6:2: colour: unknown key; the keys here are http, log, github, store, names, partitions, labels, \
             enabled, share, drain, seed",
            "lockflight.toml:4:2: githb: unknown key; did you mean github?",
            "environment variable LOCKFLIGHT_GITHUB__TOKN_FILE: github.tokn_file: unknown key; did you mean github.token_file?",
            "lockflight.toml:2:1: http.lsten: unknown key; did you mean http.listen?",
            "flag for log.formatt: log.formatt: unknown key; did you mean log.format?",
        ]
    );
}

#[test]
fn a_wrong_value_is_reported_with_its_place() {
    for (toml, message) in [
        (
            "seed = \"many\"",
            "lockflight.toml:1:8: seed: invalid type: string \"many\", expected u64",
        ),
        (
            "partitions = [1, 70000]",
            "lockflight.toml:1:18: partitions[1]: invalid value: integer `70000`, expected u16",
        ),
        (
            "seed = -1",
            "lockflight.toml:1:8: seed: invalid value: integer `-1`, expected u64",
        ),
        (
            "[log]\nformat = \"jsn\"",
            "lockflight.toml:2:10: log.format: \"jsn\" is not one of text, json; did you mean json?",
        ),
        (
            "http = 3",
            "lockflight.toml:1:8: http: invalid type: integer `3`, expected a table",
        ),
        (
            "drain = \"4 days\"",
            "lockflight.toml:1:9: drain: \"4 days\" is not a time; write a whole number and its unit, such as \"500ms\", \"4s\", \
             \"2m\" or \"1h\"",
        ),
        (
            "[http]\nlisten = \"nowhere\"",
            "lockflight.toml:2:10: http.listen: invalid socket address syntax",
        ),
    ] {
        assert_eq!(given(toml).refused(), message, "{toml}");
    }
    assert_eq!(
        given("").env("LOCKFLIGHT_ENABLED", "maybe").refused(),
        "environment variable LOCKFLIGHT_ENABLED: enabled: \"maybe\" is neither true nor false"
    );
}

#[test]
fn what_is_not_toml_is_reported_with_its_place() {
    let refused = given("a = 1\nb = [\n").refused();
    assert!(refused.starts_with("lockflight.toml:2:"), "{refused}");
}

#[test]
fn a_missing_key_is_named_with_its_variable() {
    #[derive(Debug, Deserialize)]
    struct Needs {
        #[expect(dead_code, reason = "only its absence is of interest")]
        store: Store,
    }
    #[derive(Debug, Deserialize)]
    struct Store {
        #[expect(dead_code, reason = "only its absence is of interest")]
        path: FilePath,
    }
    let refused = load::<Needs>(given("[store]\n").sources).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "store.path is missing; set it in the configuration file, or LOCKFLIGHT_STORE__PATH in the environment"
    );
    let refused = load::<Needs>(Sources::default()).unwrap_err();
    assert!(refused.to_string().starts_with("store is missing"), "{refused}");
}

#[test]
fn a_secret_is_read_from_the_file_that_the_configuration_names() {
    let given = given("[github]\ntoken_file = \"secrets/token\"\nprevious_file = [\"secrets/token\"]\n");
    std::fs::create_dir(given.dir.path().join("secrets")).unwrap();
    std::fs::write(given.dir.path().join("secrets/token"), "hunter2\n").unwrap();
    let config = given.load();
    let token = config.github.token.unwrap();
    assert_eq!(token.load().unwrap().expose_secret(), "hunter2");
    assert_eq!(
        config.github.previous[0].load().unwrap().expose_secret(),
        "hunter2"
    );
    assert!(!format!("{token:?}").contains("hunter2"));
}

#[test]
fn a_secret_in_the_file_or_on_the_command_line_is_refused_and_not_repeated() {
    let in_file = given("[github]\ntoken = \"hunter2\"\n").refused();
    assert_eq!(
        in_file,
        "lockflight.toml:2:9: github.token: a secret must not stand here, since a configuration file is copied and shown around; \
         write it to a file and set token_file to its path, or set LOCKFLIGHT_GITHUB__TOKEN in the environment"
    );
    let flag = given("").flag("github.token", "hunter2").refused();
    assert!(flag.contains("every user of the machine can see flags") && !flag.contains("hunter2"));
}

#[test]
fn the_environment_may_hold_a_secret_or_name_its_file() {
    let value = given("[github]\ntoken_file = \"absent\"\n").env("LOCKFLIGHT_GITHUB__TOKEN", "hunter2");
    let token = value.load().github.token.unwrap();
    assert_eq!(token.load().unwrap().expose_secret(), "hunter2");
    assert_eq!(
        format!("{token:?}"),
        "Secret(from environment variable LOCKFLIGHT_GITHUB__TOKEN)"
    );
    let file = given("").env("LOCKFLIGHT_GITHUB__TOKEN_FILE", "/run/token");
    assert_eq!(
        file.load().github.token.unwrap().path(),
        Some(Path::new("/run/token"))
    );
}

#[test]
fn a_secret_that_is_given_twice_by_one_source_is_refused() {
    let refused = given("")
        .env("LOCKFLIGHT_GITHUB__TOKEN", "hunter2")
        .env("LOCKFLIGHT_GITHUB__TOKEN_FILE", "/run/token")
        .refused();
    assert_eq!(
        refused,
        "environment variable LOCKFLIGHT_GITHUB__TOKEN_FILE: github.token: set either github.token or github.token_file, not both"
    );
}

#[test]
fn only_a_secret_may_be_named_by_its_file() {
    let refused = given("seed_file = \"x\"").refused();
    assert_eq!(
        refused,
        "lockflight.toml:1:13: seed_file: unknown key; `_file` is for secrets, and seed is none"
    );
    for key in [
        "names_file",
        "http_file",
        "log.format_file",
        "labels_file",
        "enabled_file",
        "store_file",
    ] {
        let refused = given("").flag(key, "x").refused();
        assert!(refused.contains("is for secrets"), "{key}: {refused}");
    }
}

#[test]
fn a_relative_path_starts_at_the_folder_of_its_file() {
    let given = given("store = \"data\"");
    assert_eq!(
        given.load().store.unwrap().as_path(),
        given.dir.path().join("data")
    );
    let flag = given.flag("store", "data");
    assert_eq!(flag.load().store.unwrap().as_path(), Path::new("data"));
    assert_eq!(
        flag.flag("store", "").refused(),
        "flag for store: store: a path can't be empty"
    );
}

#[test]
fn a_section_that_is_also_set_as_a_whole_is_refused() {
    let refused = given("")
        .env("LOCKFLIGHT_GITHUB", "{ app_id = 1 }")
        .env("LOCKFLIGHT_GITHUB__APP_ID", "2")
        .refused();
    assert!(refused.contains("use one of the two"), "{refused}");
}

#[test]
fn an_absent_file_is_an_error() {
    let sources = Sources {
        file: Some(PathBuf::from("/nonexistent/lockflight.toml")),
        ..Sources::default()
    };
    let refused = load::<Config>(sources).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the configuration file /nonexistent/lockflight.toml can't be read"
    );
}
