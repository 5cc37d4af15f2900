//! What the layers, bounds and orders promise.

mod cluster;

use std::{collections::BTreeSet, fs, ops::RangeInclusive, time::Duration};

use super::{layers::DEFAULTS, order::ORDER, *};

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn problems(sources: &Sources) -> Vec<Problem> {
    let Problems(problems) = Config::load(sources).unwrap_err();
    problems
}

fn problem_keys(sources: &Sources) -> Vec<String> {
    let problems = problems(sources).into_iter();
    problems.map(|problem| problem.key).collect()
}

/// What is wrong with a key whose value has a type that no key has.
fn rule_of(key: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("callboard.toml");
    fs::write(&file, format!("{key} = true")).unwrap();
    let problems = problems(&Sources {
        file: Some(file),
        ..Sources::default()
    });
    let mut rules = problems.into_iter().filter(|problem| problem.key == key);
    rules.next().unwrap().text
}

/// The bounds of a number.
fn bounds_of(key: &str) -> Option<RangeInclusive<i64>> {
    let rule = rule_of(key);
    let (min, max) = rule
        .strip_prefix("must be a whole number, ")?
        .split_once(" to ")?;
    Some(min.parse().unwrap()..=max.parse().unwrap())
}

/// The comment above each key of `config/default.toml`, whether the key is set or shown as a
/// comment.
fn documented_keys() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let (mut section, mut comment, mut is_list) = (String::new(), String::new(), false);
    for line in DEFAULTS.lines() {
        let bare = line.trim_start_matches("# ");
        let name = bare.split(" = ").next().unwrap_or_default();
        let is_key =
            bare.contains(" = ") && !name.contains(|c: char| c != '_' && !c.is_alphabetic());
        if let Some(list) = bare
            .strip_prefix("[[")
            .and_then(|rest| rest.strip_suffix("]]"))
        {
            found.push((list.to_owned(), comment.clone()));
            is_list = true;
        } else if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            section = format!("{name}.");
        } else if is_key && !is_list {
            found.push((format!("{section}{name}"), std::mem::take(&mut comment)));
        } else if line.starts_with('#') {
            comment.push_str(line.trim_start_matches('#'));
        } else {
            comment.clear();
            is_list = false;
        }
    }
    found
}

#[test]
fn default_file_explains_every_key_with_its_bounds() {
    let documented = documented_keys();
    let names: BTreeSet<&str> = documented.iter().map(|(key, _)| key.as_str()).collect();
    let known = format!(
        "is not one of the {} keys of the configuration",
        names.len()
    );
    assert_eq!(rule_of("colour"), known, "{names:?}");
    for (key, comment) in &documented {
        assert!(comment.trim().len() > 20, "{key} has no sentence");
        let rule = rule_of(key);
        assert_ne!(rule, known, "{key}");
        if let Some(bounds) = bounds_of(key) {
            let bounds = format!("{} to {}", bounds.start(), bounds.end());
            assert!(comment.contains(&bounds), "{key}: {bounds}");
        }
        for (suffix, unit) in [("_ms", "milliseconds"), ("_secs", "seconds")] {
            if key.ends_with(suffix) {
                assert!(comment.contains(unit), "{key} lacks its unit");
            }
        }
    }
    for (key, words) in [
        ("log.format", ["text", "json"]),
        ("mirror.sqlite_synchronous", ["normal", "full"]),
        ("mirror.partition", ["stop", "serve"]),
    ] {
        let sources = Sources {
            flags: vec![(key, "?".to_owned())],
            ..Sources::default()
        };
        let rule = problems(&sources).remove(0).text;
        assert_eq!(rule, format!("must be one of: {}", words.join(", ")));
        let (_, comment) = documented.iter().find(|(name, _)| name == key).unwrap();
        for word in words {
            assert!(comment.contains(&format!("\"{word}\"")), "{key}");
        }
    }
}

#[test]
fn defaults_are_those_of_the_design() {
    let config = Config::default();
    let secs = Duration::from_secs;
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.advertise.as_str(), "http://127.0.0.1:8080/");
    assert_eq!(config.database.expose(), "sqlite:./data/callboard.db");
    assert_eq!(config.redis, None);
    assert_eq!(config.region, "local");
    assert_eq!(
        (
            config.cluster.heartbeat,
            config.cluster.own_deadline,
            config.cluster.expiry
        ),
        (secs(1), secs(4), secs(6))
    );
    assert_eq!(
        (config.mirror.stall, config.mirror.verify),
        (secs(1), secs(10))
    );
    assert_eq!(config.mirror.ttl, secs(24 * 3600));
    assert_eq!(config.room.reconnect_grace, secs(30));
    assert_eq!(config.room.departure_timeout, secs(20));
    assert_eq!(config.room.empty_timeout, secs(300));
    assert_eq!(config.room.takeover_quiet, secs(3));
    assert_eq!(config.connection.ping_interval, secs(15));
    assert_eq!(config.connection.ping_timeout, secs(35));
    assert_eq!(config.connection.join_timeout, secs(10));
    assert_eq!(config.cluster.drain_timeout, secs(30));
    assert_eq!(config.limits.slow, secs(2));
    assert_eq!(config.limits.outgoing_bytes_max, 512 * 1024);
    assert_eq!(config.recorder.backoff_min, Duration::from_millis(100));
    assert_eq!(config.recorder.backoff_max, secs(5));
    assert_eq!(config.limits.frame_bytes_max, 64 * 1024);
    assert_eq!(config.limits.text_bytes_max, 4 * 1024);
    assert_eq!(config.limits.display_name_chars_max, 128);
    assert_eq!(
        (config.limits.tail_events_max, config.limits.tail_bytes_max),
        (512, 256 * 1024)
    );
    assert_eq!(
        (
            config.limits.commands_per_second,
            config.limits.commands_burst
        ),
        (100, 200)
    );
    assert_eq!(config.limits.refusals_max, 1000);
    assert_eq!(config.limits.refusals_window, secs(10));
    assert_eq!(
        (config.limits.held_relays_max, config.limits.lobby_max),
        (64, 100)
    );
    assert_eq!(
        (config.limits.fifo_items_max, config.limits.fifo_bytes_max),
        (4096, 4 * 1024 * 1024)
    );
    assert_eq!(
        (
            config.http.keyless_joins_per_second,
            config.http.keyless_joins_burst
        ),
        (20, 300)
    );
    assert_eq!(config.token.lifetime, secs(6 * 3600));
}

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("callboard.toml");
    fs::write(
        &file,
        "region = \"file\"\n[mirror]\nstall_ms = 900\nverify_ms = 5000\n[[sfu]]\nregion = \"eu\"\nip = \"192.0.2.1\"\nport = 5000\n",
    )
    .unwrap();
    let config = Config::load(&Sources {
        file: Some(file),
        environment: variables(&[
            ("CALLBOARD_REGION", "environment"),
            ("CALLBOARD_MIRROR__STALL_MS", "800"),
            ("CALLBOARD_REDIS", ""),
            ("CALLBOARD_SIGNING_KEY", "not a key of the configuration"),
            ("CALLBOARD_API_KEY", "not a key of the configuration"),
            ("CALLBOARD_SERVICE_HOST", "10.0.0.1"),
            (
                "CALLBOARD_HTTP__ALLOWED_ORIGINS",
                "https://a.example, https://b.example",
            ),
            ("HOME", "/root"),
        ]),
        flags: vec![("region", "flag".to_owned())],
        ..Sources::default()
    })
    .unwrap();
    assert_eq!(config.region, "flag");
    assert_eq!(config.mirror.stall, Duration::from_millis(800));
    assert_eq!(config.mirror.verify, Duration::from_secs(5));
    assert_eq!(config.redis, None);
    assert_eq!(config.sfu[0].port, 5000);
    assert_eq!(
        config.http.allowed_origins,
        ["https://a.example", "https://b.example"]
    );
}

#[test]
fn file_named_by_variable_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("callboard.toml");
    fs::write(&file, "region = \"file\"").unwrap();
    let config = Config::load(&Sources {
        environment: vec![("CALLBOARD_CONFIG".to_owned(), file.display().to_string())],
        ..Sources::default()
    })
    .unwrap();
    assert_eq!(config.region, "file");
}

#[test]
fn every_problem_of_every_layer_is_named_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("callboard.toml");
    fs::write(
        &file,
        "listen = \"localhost\"\ncolour = 1\n[mirror]\nstall_ms = 1.5\npartition = \"maybe\"\n[[sfu]]\nregion = \"eu\"\nip = \"nowhere\"\nport = 0\n[[ice_servers]]\nurls = [\"http://x\"]\nusername = \"u\"\n",
    )
    .unwrap();
    let mut keys = problem_keys(&Sources {
        file: Some(file),
        environment: variables(&[
            ("CALLBOARD_LOG__LEVEL", "callboard=loud"),
            ("CALLBOARD_MIROR__STALL_MS", "5"),
            ("CALLBOARD_LIMITS__LOBBY_MAX", "-1"),
            ("CALLBOARD_HTTP__ALLOWED_ORIGINS", "https://a.example/path"),
        ]),
        flags: vec![
            ("database", "mysql://root:pass@db/x".to_owned()),
            ("redis", "memcached://x".to_owned()),
            ("advertise", "http://x/y".to_owned()),
        ],
        is_node: true,
        is_signing_key_given: true,
    });
    keys.sort();
    assert_eq!(
        keys,
        [
            "CALLBOARD_MIROR__STALL_MS",
            "advertise",
            "colour",
            "database",
            "http.allowed_origins",
            "ice_servers[0].credential",
            "ice_servers[0].urls",
            "limits.lobby_max",
            "listen",
            "log.level",
            "mirror.partition",
            "mirror.stall_ms",
            "redis",
            "sfu[0].ip",
            "sfu[0].port",
        ]
    );
}

#[test]
fn every_order_is_asserted() {
    for (low, _, high) in ORDER {
        // As wrong as the single bounds allow.
        let flags = vec![
            (*low, bounds_of(low).unwrap().end().to_string()),
            (*high, bounds_of(high).unwrap().start().to_string()),
        ];
        let keys = problem_keys(&Sources {
            flags,
            ..Sources::default()
        });
        assert!(keys.contains(&(*low).to_owned()), "{low} against {high}");
    }
}

#[test]
fn log_level_takes_directives_with_and_without_blanks() {
    let load = |level: &str| {
        Config::load(&Sources {
            flags: vec![("log.level", level.to_owned())],
            ..Sources::default()
        })
    };
    let level = load("info, callboard::mirror=debug,").unwrap().log.level;
    assert_eq!(level, "info,callboard::mirror=debug");
    for wrong in ["", " , ", "callboard=loud", "callboard[room]=debug"] {
        assert!(load(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn section_replaced_by_a_value_is_a_problem_and_no_panic() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("callboard.toml");
    fs::write(
        &file,
        "mirror = 5\nregion = [1]\nsfu = 3\nice_servers = [4]\n",
    )
    .unwrap();
    let keys = problem_keys(&Sources {
        file: Some(file),
        ..Sources::default()
    });
    for key in ["mirror", "region", "sfu", "ice_servers[0]"] {
        assert!(keys.contains(&key.to_owned()), "{key} in {keys:?}");
    }
}

#[test]
fn broken_file_is_named_without_its_content() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("callboard.toml");
    fs::write(
        &file,
        "region = \"x\"\nredis = \"redis://:hidden@x\" oops\n",
    )
    .unwrap();
    let problems = Config::load(&Sources {
        file: Some(file),
        flags: vec![("region", String::new())],
        ..Sources::default()
    })
    .unwrap_err();
    let text = problems.to_string();
    assert!(
        text.contains("callboard.toml") && text.contains("line 2"),
        "{text}"
    );
    assert!(text.contains("region"), "{text}");
    assert!(!text.contains("hidden"), "{text}");
}

#[test]
fn debug_output_shows_no_secret() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("callboard.toml");
    fs::write(
        &file,
        "[[ice_servers]]\nurls = [\"turn:x\"]\nusername = \"u\"\ncredential = \"hidden\"\n",
    )
    .unwrap();
    let config = Config::load(&Sources {
        file: Some(file),
        flags: vec![
            ("redis", "redis://:hidden@cache".to_owned()),
            ("database", "postgres://app:hidden@db/x".to_owned()),
        ],
        ..Sources::default()
    })
    .unwrap();
    assert!(!format!("{config:?}").contains("hidden"));
}
