//! The layers of `src`: imports point down, and there are no circles.

use super::{
    files::{product_files, read},
    imports::{Uses, circles, module_of, paths},
    tokens::Source,
};

/// The parts of `src`, lowest first. A part uses only what is before it.
const LAYERS: [&str; 21] = [
    "ids",
    "clock",
    "fd_budget",
    "protocol",
    "secrets",
    "room",
    "lease",
    "mirror",
    "owner",
    "host",
    "config",
    "metrics",
    "store",
    "ws",
    "claims",
    "recorder",
    "cluster",
    "actor",
    "http",
    "node",
    "load",
];

/// The pure parts, and what they may use besides each other.
const CORE: [&str; 4] = ["room", "lease", "owner", "host"];
const BELOW_THE_CORE: [&str; 3] = ["ids", "protocol", "mirror"];
/// The plain data of the mirror's port: all that the core may use of it.
const DATA_OF_THE_MIRROR: [&str; 3] = ["Commit", "CommitOutcome", "Ownership"];

/// What the core must not name: libraries of the shell, clocks, randomness, the outside world.
const FOREIGN_TO_THE_CORE: [&str; 12] = [
    "actix",
    "actix_web",
    "tokio",
    "redis",
    "diesel",
    "utoipa",
    "tracing",
    "Instant",
    "SystemTime",
    "Utc",
    "rand",
    "reqwest",
];
/// The same for paths of the standard library and of `uuid`.
const FOREIGN_PATHS: [[&str; 2]; 6] = [
    ["std", "net"],
    ["std", "fs"],
    ["std", "thread"],
    ["Uuid", "new_v4"],
    ["Uuid", "now_v7"],
    ["std", "env"],
];

fn layer(part: &str) -> Option<usize> {
    LAYERS.iter().position(|name| *name == part)
}

fn is_core(part: &str) -> bool {
    CORE.contains(&part)
}

/// Uses between units, as `unit` cuts a module path; None: the path is of no interest.
fn uses(unit: impl Fn(&[String]) -> Option<String>) -> Uses {
    let mut uses = Uses::new();
    for file in product_files() {
        let module = module_of(&file);
        let Some(from) = unit(&module) else { continue };
        for path in paths(&Source::parse(&read(&file)), &module) {
            if let Some(to) = unit(&path.segments)
                && to != from
            {
                let place = format!("{file}:{}", path.line);
                uses.entry(from.clone())
                    .or_default()
                    .entry(to)
                    .or_insert(place);
            }
        }
    }
    uses
}

fn parts() -> Uses {
    uses(|path| {
        let part = path.first()?;
        // The binary and the command line stand above everything.
        let is_edge = ["main", "lib", "cli"].contains(&part.as_str());
        (!is_edge).then(|| part.clone())
    })
}

#[test]
fn every_part_of_the_source_has_its_layer() {
    let unknown: Vec<String> = product_files()
        .iter()
        .map(|file| module_of(file).swap_remove(0))
        .filter(|part| layer(part).is_none() && !["main", "lib", "cli"].contains(&part.as_str()))
        .collect();
    assert!(unknown.is_empty(), "not in the list of layers: {unknown:?}");
}

#[test]
fn the_crate_lists_its_modules_by_layer() {
    let tokens = Source::parse(&read("src/lib.rs")).tokens;
    let modules = tokens
        .windows(2)
        .filter(|pair| pair[0].word() == Some("mod"));
    let modules: Vec<&str> = modules.filter_map(|pair| pair[1].word()).collect();
    let listed = modules.iter().filter(|module| layer(module).is_some());
    assert!(listed.eq(LAYERS.iter()), "{modules:?}, expected {LAYERS:?}");
}

#[test]
fn imports_point_down() {
    let mut upward = Vec::new();
    for (from, targets) in parts() {
        for (to, place) in targets {
            if layer(&from) <= layer(&to) {
                upward.push(format!("{from} uses {to}: {place}"));
            }
        }
    }
    assert!(upward.is_empty(), "{}", upward.join("\n"));
}

#[test]
fn folders_form_no_circle() {
    let circles = circles(&parts());
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn core_uses_nothing_of_the_shell() {
    let mut found = Vec::new();
    for (from, targets) in parts().iter().filter(|(from, _)| is_core(from)) {
        for (to, place) in targets {
            if !is_core(to) && !BELOW_THE_CORE.contains(&to.as_str()) {
                found.push(format!("{from} uses {to}: {place}"));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn core_uses_plain_data_of_the_mirror_only() {
    let mut found = Vec::new();
    for file in product_files() {
        let module = module_of(&file);
        if !is_core(&module[0]) {
            continue;
        }
        for path in paths(&Source::parse(&read(&file)), &module) {
            let is_data = |name: &String| DATA_OF_THE_MIRROR.contains(&name.as_str());
            let is_mirror = path.segments.first().is_some_and(|part| part == "mirror");
            if is_mirror && !path.segments.get(1).is_some_and(is_data) {
                found.push(format!("{file}:{}", path.line));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn core_knows_no_clock_no_randomness_and_no_library_of_the_shell() {
    let mut found = Vec::new();
    for file in product_files() {
        let part = module_of(&file).swap_remove(0);
        if !is_core(&part) && part != "protocol" {
            continue;
        }
        let tokens = Source::parse(&read(&file)).tokens;
        for (at, token) in tokens.iter().enumerate() {
            let Some(word) = token.word() else { continue };
            let is_foreign = FOREIGN_TO_THE_CORE.contains(&word)
                || FOREIGN_PATHS.iter().any(|[first, second]| {
                    word == *first && tokens.get(at + 3).and_then(|t| t.word()) == Some(second)
                });
            if is_foreign {
                found.push(format!("{file}:{}: {word}", token.line));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn files_of_the_actors_form_no_circle() {
    // A file and the folder of its name are one unit.
    let units = uses(|path| match path {
        [first, second, ..] if first == "actor" && is_file(second) => Some(second.clone()),
        [first, ..] if first == "actor" => Some("actor.rs".to_owned()),
        _ => None,
    });
    let circles = circles(&units);
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

fn is_file(name: &str) -> bool {
    product_files().contains(&format!("src/actor/{name}.rs"))
}
