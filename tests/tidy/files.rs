//! The files of the repository.

use std::{
    fs,
    path::{Path, PathBuf},
};

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn exists(path: &str) -> bool {
    root().join(path).exists()
}

pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// All files below a folder with one of the extensions, as paths from the root.
pub fn files(folder: &str, extensions: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path: PathBuf = entry.unwrap().path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            if path.is_dir() {
                folders.push(path);
            } else if extension.is_some_and(|extension| extensions.contains(&extension)) {
                let path = path.strip_prefix(root()).unwrap();
                found.push(path.to_str().unwrap().replace('\\', "/"));
            }
        }
    }
    found.sort();
    found
}

pub fn rust_files(folder: &str) -> Vec<String> {
    files(folder, &["rs"])
}

/// The Rust files of `src` without its tests.
pub fn product_files() -> Vec<String> {
    let is_test = |file: &String| file.contains("/tests/") || file.ends_with("/tests.rs");
    let mut files = rust_files("src");
    files.retain(|file| !is_test(file));
    files
}

/// The documents that people read.
pub fn documents() -> Vec<String> {
    let mut found = files("docs", &["md"]);
    let top = [
        "README",
        "ARCHITECTURE",
        "CHANGELOG",
        "CONTRIBUTING",
        "SECURITY",
    ];
    found.extend(top.map(|name| format!("{name}.md")));
    found
}
