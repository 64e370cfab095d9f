//! Both of Fn's forms, every key, every kind of error; and texts that nobody wrote.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::error::Code;
use crate::limits;

fn parse(text: &str) -> Result<FuncFile> {
    FuncFile::parse(Path::new("asyncfn/func.yaml"), text)
}

/// Message and hint, as a person gets them.
fn refusal(text: &str) -> String {
    let error = parse(text).expect_err("must be refused");
    assert_eq!(error.code(), Code::Invalid, "{error}");
    match error.hint_text() {
        Some(hint) => format!("{error} / {hint}"),
        None => error.to_string(),
    }
}

#[test]
fn the_form_of_2018() {
    let file =
        parse("name: asyncfn\ntype: async\nversion: 0.0.1\nruntime: go\nentrypoint: ./func\n").unwrap();
    assert_eq!(file.name.as_str(), "asyncfn");
    assert_eq!(file.kind, Kind::Async);
    assert_eq!(file.version, "0.0.1");
    assert_eq!(file.runtime.as_deref(), Some("go"));
    assert_eq!(file.entrypoint, ["./func"]);
    assert_eq!(file.format, Format::HttpStream);
    assert_eq!(file.route().unwrap().as_str(), "/asyncfn");
    assert_eq!(file.limits, Limits::default());
    assert_eq!(file.warnings, Vec::<String>::new());
}

#[test]
fn every_key_of_2018() {
    let file = parse(concat!(
        "name: f\nversion: 1.2.3\nruntime: docker\nentrypoint: [sh, -c, 'echo hi']\ncmd: a \"b c\"\n",
        "build: [make, make test]\nbuild_image: b:1\nrun_image: r:2\ncontent_type: application/json\n",
        "type: sync\nmemory: 256\ncpus: 100m\nformat: default\ntimeout: 60\nidle_timeout: 45\npath: other\n",
        "config: {A: b, N: 3, T: true, E: }\nheaders: {X-A: [b]}\nannotations: {a: {b: [1, x, null, 1.5, 'true']}}\n",
        "expects: {config: [{name: DB, required: true}, {name: OPT, required: false}]}\ntests: [a]\n",
    ))
    .unwrap();
    assert_eq!(file.entrypoint, ["sh", "-c", "echo hi"]);
    assert_eq!(file.cmd, ["a", "b c"]);
    assert_eq!(file.build, ["make", "make test"]);
    assert_eq!((file.build_image.as_deref(), file.run_image.as_deref()), (Some("b:1"), Some("r:2")));
    assert_eq!(file.content_type.as_deref(), Some("application/json"));
    assert_eq!((file.limits.memory_mib, file.limits.cpu_millis), (256, 100));
    assert_eq!((file.limits.timeout_ms, file.limits.idle_timeout_ms), (60_000, 45_000));
    assert_eq!(file.route().unwrap().as_str(), "/other");
    let config: Vec<_> = file.config.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(config, [("A", "b"), ("E", ""), ("N", "3"), ("T", "true")]);
    assert_eq!(file.annotations["a"], serde_json::json!({"b": [1, "x", null, 1.5, "true"]}));
    assert_eq!(
        file.expects,
        [
            Expected { name: "DB".to_owned(), required: true },
            Expected { name: "OPT".to_owned(), required: false }
        ]
    );
    assert_eq!(
        file.warnings,
        [
            "asyncfn/func.yaml:18: `headers` has no effect here: a result keeps its content type and no other header",
            "asyncfn/func.yaml:21: `tests` has no effect here: there is no `test` command",
        ]
    );
}

#[test]
fn the_form_of_today() {
    let file = parse(concat!(
        "schema_version: 20180708\nname: f\nversion: 0.0.2\nruntime: python\nentrypoint: /python/bin/fdk f.py h\n",
        "memory: 256\ntriggers:\n- name: f\n  type: http\n  source: /f-trigger\nsigning_details: {a: b}\n",
        "deploy:\n  oci:\n    provisioned_concurrency: {strategy: CONSTANT}\n",
    ))
    .unwrap();
    assert_eq!(file.route().unwrap().as_str(), "/f-trigger");
    assert_eq!(file.format, Format::HttpStream);
    assert_eq!(file.warnings.len(), 2);
    assert!(file.warnings[1].starts_with("asyncfn/func.yaml:12: `deploy` has no effect here"));
}

#[test]
fn our_own_keys() {
    let file = parse(concat!(
        "max_attempts: 3\nretry_backoff: 2s\nnetwork: true\ntmpfs_size: 64m\nbatch: {input: contracts.jsonl}\n",
        "memory: 2g\ntimeout: 1m 30s\ncpus: 0.5\nidle_timeout: 0.5\n",
    ))
    .unwrap();
    assert_eq!(file.limits.attempts_max, 3);
    assert_eq!(file.limits.retry_backoff_ms, 2_000);
    assert!(file.limits.network);
    assert_eq!((file.limits.tmpfs_mib, file.limits.memory_mib), (64, 2_048));
    assert_eq!((file.limits.timeout_ms, file.limits.idle_timeout_ms), (90_000, 500));
    assert_eq!(file.limits.cpu_millis, 500);
    assert_eq!(file.batch_input.as_deref(), Some("contracts.jsonl"));
}

#[test]
fn json_is_read_too() {
    let file = FuncFile::parse(
        Path::new("f/func.json"),
        "{\n\t\"name\": \"f\",\n\t\"memory\": 256,\n\t\"type\": \"async\"\n}\n",
    );
    let file = file.unwrap();
    assert_eq!((file.name.as_str(), file.limits.memory_mib, file.kind), ("f", 256, Kind::Async));
}

#[test]
fn a_version_is_no_number_and_a_missing_name_is_the_folders() {
    let file = parse("version: 0.10").unwrap();
    assert_eq!(file.version, "0.10");
    assert_eq!(file.name.as_str(), "asyncfn");
    assert_eq!(parse("").unwrap().version, "0.0.1");
}

#[test]
fn a_file_in_the_current_folder_has_a_folder() {
    let file = FuncFile::parse(Path::new("func.yaml"), "name: f").unwrap();
    assert_eq!(file.dir(), Path::new("."));
}

#[test]
fn the_default_format_follows_the_runtime() {
    for (runtime, format) in [
        ("go", Format::HttpStream),
        ("python3.9", Format::HttpStream),
        ("java11", Format::HttpStream),
        ("node", Format::HttpStream),
        ("shell", Format::Default),
        ("docker", Format::Default),
        ("rust", Format::Default),
    ] {
        assert_eq!(parse(&format!("runtime: {runtime}")).unwrap().format, format, "{runtime}");
    }
    assert_eq!(parse("runtime: go\nformat: default").unwrap().format, Format::Default);
}

#[test]
fn an_error_names_file_line_key_and_what_was_meant() {
    for (text, expected) in [
        ("name: f\nmemroy: 1", "asyncfn/func.yaml:2: unknown key `memroy` / did you mean `memory`?"),
        ("batch: {inptu: a}", "asyncfn/func.yaml:1: unknown key `inptu` / did you mean `input`?"),
        ("batch: {zzz: a}", "asyncfn/func.yaml:1: unknown key `zzz` / known: `input`"),
        ("name: f\nname: g", "asyncfn/func.yaml:2: `name` stands in line 1 already"),
        (
            "memory: lots",
            "asyncfn/func.yaml:1: `memory` is `lots`, expected MiB as a number, or a size like `512m` or `2g`",
        ),
        (
            "memory: [1]",
            "asyncfn/func.yaml:1: `memory` is a list, expected MiB as a number, or a size like `512m` or `2g`",
        ),
        ("\ntimeout: 20h", "asyncfn/func.yaml:2: timeout 20h lies outside 1s to 5h"),
        (
            "timeout: -1",
            "asyncfn/func.yaml:1: `timeout` is `-1`, expected seconds as a number, or a duration like `90s` or `5m`",
        ),
        ("max_attempts: 0", "asyncfn/func.yaml:1: max_attempts 0 lies outside 1 to 100"),
        ("network: yes", "asyncfn/func.yaml:1: `network` is `yes`, expected true or false"),
        ("type: asink", "asyncfn/func.yaml:1: type `asink` is unknown / known: sync, async"),
        ("config: [a]", "asyncfn/func.yaml:1: `config` is a list, expected a map of names and texts"),
        ("config:\n  A: {b: c}", "asyncfn/func.yaml:2: `A` is a map, expected text"),
        ("schema_version: 2", "asyncfn/func.yaml:1: `schema_version` is `2`, expected 20180708"),
        (
            "version: a/b",
            "asyncfn/func.yaml:1: `version` is `a/b`, expected a version like 0.0.1: up to 64 letters, digits, `.`, `-` and `_`",
        ),
        ("entrypoint: 'a \"b'", "asyncfn/func.yaml:1: `entrypoint` has an open quote"),
        (
            "- a",
            "asyncfn/func.yaml:1: `asyncfn/func.yaml` is a list, expected a map of keys like `name: myfn`",
        ),
        (
            "a: &x 1\n",
            "asyncfn/func.yaml:1: anchors and aliases are not supported / write the value out where it is needed",
        ),
        ("name: a\n---\nname: b", "asyncfn/func.yaml:3: a second document begins, there is to be one"),
        ("? [a]\n: b", "asyncfn/func.yaml:1: a key is a list or map, it is to be a word"),
        ("triggers: [{name: a}]", "asyncfn/func.yaml:1: a trigger without `source: /path`"),
        ("path: /a//b", "asyncfn/func.yaml:1: route `/a//b` has an empty, `.` or `..` part"),
    ] {
        assert_eq!(refusal(text), expected);
    }
}

#[test]
fn fns_older_formats_are_refused_with_a_way_out() {
    for format in ["json", "http", "cloudevent"] {
        let refusal = refusal(&format!("format: {format}"));
        assert!(refusal.contains("http-stream") && refusal.contains("format: default"), "{refusal}");
    }
    assert_eq!(
        refusal("format: htp"),
        "asyncfn/func.yaml:1: format `htp` is unknown / known: default, http-stream"
    );
}

#[test]
fn every_known_key_is_read() {
    for key in KEYS.split(' ') {
        // A map is wrong for most keys and right for some; no key may be known and fall through.
        if let Err(error) = parse(&format!("{key}: {{}}")) {
            assert_eq!(error.code(), Code::Invalid, "{key}: {error}");
        }
    }
}

#[test]
fn bombs_do_not_go_off() {
    let nested = "[".repeat(100_000);
    assert!(refusal(&format!("config: {nested}")).starts_with("asyncfn/func.yaml:1: "));
    let block: String = (0..400).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert_eq!(refusal(&block), "asyncfn/func.yaml:17: nested more than 16 deep");
    let laughs = "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b]\n";
    assert!(refusal(laughs).contains("anchors and aliases are not supported"));
    let large = format!("config: {{A: \"{}\"}}", "x".repeat(300_000));
    assert_eq!(refusal(&large), "asyncfn/func.yaml has 300015 bytes, the most is 262144");
}

#[test]
fn an_app_file() {
    let app = AppFile::parse(Path::new("app.yaml"), "name: asyncapp\nconfig:\n  DB: x\n  N: 1\n").unwrap();
    assert_eq!(app.name.unwrap().as_str(), "asyncapp");
    assert_eq!(app.config["N"], "1");
    let error = AppFile::parse(Path::new("app.yaml"), "nam: a").unwrap_err();
    assert_eq!(error.message(), "app.yaml:1: unknown key `nam`");
    assert_eq!(error.hint_text(), Some("did you mean `name`?"));
}

#[derive(Debug, Clone)]
struct Plan {
    name: String,
    version: String,
    kind: Kind,
    memory: u64,
    timeout: u64,
    attempts: u32,
    backoff: u64,
    config: BTreeMap<String, String>,
    entrypoint: Vec<String>,
}

fn plan() -> impl Strategy<Value = Plan> {
    (
        "[a-zA-Z0-9_-]{1,64}",
        "[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}",
        prop_oneof![Just(Kind::Sync), Just(Kind::Async)],
        limits::MEMORY_MIB_MIN..=limits::MEMORY_MIB_MAX,
        limits::TIMEOUT_MS_MIN..=limits::TIMEOUT_MS_MAX,
        1..=limits::ATTEMPTS_MAX,
        0..=limits::RETRY_BACKOFF_MS_MAX,
        prop::collection::btree_map(
            "[A-Za-z_][A-Za-z0-9_]{0,10}",
            "[^\\x00\\x7f-\\x9f\\u{fffe}\\u{ffff}]{0,20}",
            0..5,
        ),
        prop::collection::vec("[^\\x00\\x7f-\\x9f\\u{fffe}\\u{ffff}]{1,10}", 0..4),
    )
        .prop_map(|(name, version, kind, memory, timeout, attempts, backoff, config, entrypoint)| Plan {
            name,
            version,
            kind,
            memory,
            timeout,
            attempts,
            backoff,
            config,
            entrypoint,
        })
}

proptest! {
    #[test]
    fn what_is_written_is_read(plan in plan()) {
        // A JSON string is a double-quoted YAML scalar.
        let quoted = |text: &str| serde_json::to_string(text).unwrap();
        let mut text = format!(
            "name: {}\nversion: {}\ntype: {} # a comment\nmemory: {}\ntimeout: {}ms\nmax_attempts: {}\nretry_backoff: {}ms\nconfig:\n",
            quoted(&plan.name), plan.version, plan.kind, plan.memory, plan.timeout, plan.attempts, plan.backoff,
        );
        for (key, value) in &plan.config {
            text += &format!("  {key}: {}\n", quoted(value));
        }
        text += &format!("entrypoint: [{}]\n", plan.entrypoint.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", "));
        let file = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        prop_assert_eq!(file.name.as_str(), plan.name);
        prop_assert_eq!(file.version, plan.version);
        prop_assert_eq!(file.kind, plan.kind);
        prop_assert_eq!(file.limits.memory_mib, plan.memory);
        prop_assert_eq!(file.limits.timeout_ms, plan.timeout);
        prop_assert_eq!(file.limits.attempts_max, plan.attempts);
        prop_assert_eq!(file.limits.retry_backoff_ms, plan.backoff);
        prop_assert_eq!(file.config, plan.config);
        prop_assert_eq!(file.entrypoint, plan.entrypoint);
    }

    #[test]
    fn nothing_makes_it_panic(text in "\\PC*") {
        let _ = parse(&text);
    }

    #[test]
    fn nothing_like_yaml_makes_it_panic(text in "[a-c:\\-\\[\\]{}&*!|>'\"%#?,. \\t\\n\\r\\\\x0-9]{0,80}") {
        let _ = parse(&text);
        let _ = AppFile::parse(Path::new("app.yaml"), &text);
    }

    #[test]
    fn no_value_of_a_known_key_makes_it_panic(key in prop::sample::select(KEYS.split(' ').collect::<Vec<_>>()), value in "[^\\x00]{0,40}") {
        let _ = parse(&format!("{key}: {value}"));
    }
}
