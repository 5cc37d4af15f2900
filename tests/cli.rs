//! The command line from outside: the built binary, its exit codes and what it writes where.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use callboard::{
    ids::Timestamp,
    secrets::{self, DataLock, GivenSecrets, SigningKey, token::Unverified},
};

const ROOM: &str = "00000000-0000-0000-0000-00000000000a";
const USER: &str = "00000000-0000-0000-0000-00000000000b";

/// The binary with none of our variables set but these.
fn callboard(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callboard"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CALLBOARD_") {
            command.env_remove(name);
        }
    }
    command
        .args(arguments)
        .envs(variables.iter().copied())
        .output()
        .expect("the built binary starts")
}

fn stdout(output: &Output) -> &str {
    str::from_utf8(&output.stdout).expect("results are UTF-8")
}

fn stderr(output: &Output) -> &str {
    str::from_utf8(&output.stderr).expect("messages are UTF-8")
}

fn path(path: &Path) -> &str {
    path.to_str()
        .expect("temporary directories have plain names")
}

fn token_arguments(data: &Path) -> Vec<&str> {
    vec![
        "token",
        "--data",
        path(data),
        "--room",
        ROOM,
        "--user",
        USER,
        "--role",
        "host",
        "--name",
        "Ada",
    ]
}

#[test]
fn bad_configuration_names_every_problem_in_one_go_and_exits_2() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("callboard.toml");
    fs::write(
        &file,
        "colour = \"red\"\n[mirror]\nstall_ms = 5000\n[limits]\nlobby_max = -1\n",
    )
    .unwrap();
    let data = directory.path().join("data");
    let output = callboard(
        &[
            "serve",
            "--config",
            path(&file),
            "--data",
            path(&data),
            "--listen",
            "nowhere",
            "--database",
            "mysql://root:hidden@db/x",
        ],
        &[
            ("CALLBOARD_LOG__FORMAT", "xml"),
            ("CALLBOARD_REDIS", "redis://:hidden@cache"),
            ("CALLBOARD_BOOTSTRAP_API_KEY", "hidden"),
            ("CALLBOARD_MIROR__STALL_MS", "1"),
        ],
    );
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    for key in [
        "colour: ",
        "mirror.stall_ms: ",
        "limits.lobby_max: ",
        "listen: ",
        "database: ",
        "log.format: ",
        "CALLBOARD_SIGNING_KEY: ",
        "CALLBOARD_BOOTSTRAP_API_KEY: ",
        "CALLBOARD_MIROR__STALL_MS: ",
    ] {
        assert!(text.contains(&format!("\n  {key}")), "{key}\n{text}");
    }
    assert!(!text.contains("hidden"), "{text}");
    assert_eq!(stdout(&output), "");
    assert!(!data.exists(), "nothing is made before the checks");
}

#[test]
fn missing_configuration_file_exits_2_and_is_named() {
    let output = callboard(&["serve", "--config", "/nowhere/callboard.toml"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("/nowhere/callboard.toml"));
}

#[test]
fn unknown_arguments_exit_2_and_version_exits_0() {
    assert_eq!(
        callboard(&["serve", "--colour"], &[]).status.code(),
        Some(2)
    );
    assert_eq!(callboard(&[], &[]).status.code(), Some(2));
    let version = callboard(&["--version"], &[]);
    assert_eq!(version.status.code(), Some(0));
    assert_eq!(
        stdout(&version).trim(),
        concat!("callboard ", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn second_process_on_a_data_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let lock = DataLock::acquire(&data).unwrap();
    let output = callboard(&["serve", "--data", path(&data)], &[]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(path(&data)), "{text}");
    assert!(text.contains("used by another callboard process"), "{text}");
    assert_eq!(stdout(&output), "");
    drop(lock);
}

#[test]
fn start_that_fails_says_why_in_one_line_and_exits_1() {
    let directory = tempfile::tempdir().unwrap();
    let data = |name: &str| directory.path().join(name);
    for name in ["mirror", "store"] {
        fs::create_dir(data(name)).unwrap();
    }
    fs::write(
        data("mirror").join("mirror.db"),
        "this is no database".repeat(100),
    )
    .unwrap();
    fs::write(
        data("store").join("callboard.db"),
        "this is no database".repeat(100),
    )
    .unwrap();
    let nobody = "postgres://user:hidden@127.0.0.1:1/callboard";
    for (name, more, word) in [
        ("schema", &["--no-migrate"][..], "callboard migrate"),
        ("away", &["--database", nobody], "database"),
        ("mirror", &[], "database"),
        ("store", &[], "database"),
    ] {
        let data = data(name);
        let usual = ["serve", "--listen", "127.0.0.1:0", "--data", path(&data)];
        let output = callboard(
            &[&usual[..], more].concat(),
            &[("CALLBOARD_LOG__LEVEL", "error")],
        );
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{name}: {text}");
        let said = text
            .lines()
            .filter(|line| !line.is_empty())
            .collect::<Vec<_>>();
        assert_eq!(said.len(), 1, "{name}: {text}");
        assert!(
            said[0].starts_with("error: ") && said[0].contains(word),
            "{name}: {text}"
        );
        assert!(!text.contains("hidden"), "{name}: {text}");
    }
}

#[test]
fn token_is_signed_with_the_key_of_the_data_directory() {
    let directory = tempfile::tempdir().unwrap();
    let lock = DataLock::acquire(directory.path()).unwrap();
    let secrets = secrets::load_or_create(&lock, &GivenSecrets::default()).unwrap();
    for name in ["signing.key", secrets::API_KEY_FILE] {
        let mode = fs::metadata(directory.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    // The lock is held, as by a running server: minting needs none.
    let output = callboard(&token_arguments(directory.path()), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let now = Timestamp::from(chrono::Utc::now());
    let token = stdout(&output);
    let token = Unverified::new(token.trim_end()).unwrap();
    let claims = token.verify_with_server_key(&secrets.signing, now).unwrap();
    assert_eq!(claims.room.to_string(), ROOM);
    assert_eq!(claims.sub.to_string(), USER);
    assert_eq!(claims.name, "Ada");
    assert_eq!(claims.tenant.0.as_u128(), 1);
    let left_secs = claims.exp - u64::try_from(now.0 / 1000).unwrap();
    assert!(
        (6 * 3600 - 60..=6 * 3600).contains(&left_secs),
        "{left_secs}"
    );
}

#[test]
fn token_as_json_is_signed_with_the_given_key_and_lifetime() {
    let directory = tempfile::tempdir().unwrap();
    let given = "0123456789abcdef0123456789abcdef";
    let mut arguments = token_arguments(directory.path());
    arguments.extend(["--ttl-secs", "60", "--json"]);
    let output = callboard(&arguments, &[("CALLBOARD_SIGNING_KEY", given)]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let answer: serde_json::Value = serde_json::from_str(stdout(&output)).unwrap();
    let signing = SigningKey::from_text(given).unwrap();
    let now = Timestamp::from(chrono::Utc::now());
    let token = Unverified::new(answer["token"].as_str().unwrap()).unwrap();
    let claims = token.verify_with_server_key(&signing, now).unwrap();
    let expires_at: Timestamp = answer["expiresAt"].as_str().unwrap().parse().unwrap();
    assert_eq!(expires_at.0, i64::try_from(claims.exp).unwrap() * 1000);
    assert!(expires_at.ms_since(now) <= 60_000);
    assert!(
        fs::read_dir(directory.path()).unwrap().next().is_none(),
        "minting leaves no files"
    );
}

#[test]
fn token_without_a_signing_key_says_where_one_comes_from() {
    let directory = tempfile::tempdir().unwrap();
    let output = callboard(&token_arguments(directory.path()), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("callboard serve"));
    let mut arguments = token_arguments(directory.path());
    arguments.extend(["--ttl-secs", "86401"]);
    assert_eq!(callboard(&arguments, &[]).status.code(), Some(2));
}

#[test]
fn tenants_and_keys_are_created_listed_and_revoked() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let variables = [
        ("CALLBOARD_DATA", path(&data)),
        ("CALLBOARD_SIGNING_KEY", "0123456789abcdef0123456789abcdef"),
    ];
    let run = |arguments: &[&str]| {
        let output = callboard(arguments, &variables);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stdout(&output).trim_end_matches('\n').to_owned()
    };
    let early = callboard(&["tenants", "list"], &variables);
    assert_eq!(early.status.code(), Some(1), "{}", stderr(&early));

    assert!(run(&["migrate"]).lines().count() > 0);
    assert_eq!(run(&["migrate"]), "");
    let tenant = run(&["tenants", "create", "--name", "Acme"]);
    assert_eq!(
        run(&["tenants", "create", "--name", "Acme", "--id", &tenant]),
        tenant
    );
    assert!(run(&["tenants", "list"]).contains(&format!("{tenant}\tAcme\t")));

    let text = run(&["keys", "create", "--name", "test", "--tenant", &tenant]);
    let key = secrets::api_key::ApiKeyText::parse(&text).unwrap();
    let id = key.id.to_string();
    let listed: serde_json::Value =
        serde_json::from_str(&run(&["keys", "list", "--tenant", &tenant, "--json"])).unwrap();
    assert_eq!(listed["id"], id);
    assert_eq!(listed["scope"], "tenant");
    assert!(listed["revokedAt"].is_null());
    assert!(!listed.to_string().contains(key.expose_secret()));

    run(&["keys", "revoke", &id]);
    let again = callboard(&["keys", "revoke", &id], &variables);
    assert_eq!(again.status.code(), Some(1));
    let foreign = callboard(
        &["keys", "create", "--name", "x", "--tenant", ROOM],
        &variables,
    );
    assert_eq!(foreign.status.code(), Some(2), "{}", stderr(&foreign));
}

#[test]
fn embedded_database_is_not_migrated_under_a_running_server() {
    let directory = tempfile::tempdir().unwrap();
    let _lock = DataLock::acquire(directory.path()).unwrap();
    let output = callboard(&["migrate", "--data", path(directory.path())], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("used by another callboard process"));
}
