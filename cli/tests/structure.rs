//! What the code may not do, where the compiler does not say it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

/// Who may stand on whom: from the crates at the edge to those that name nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    Domain,
    Platform,
    Binding,
    Service,
    Tool,
    Binary,
}

fn layer(folder: &str) -> Layer {
    if folder == "command-services/aggregates" {
        return Layer::Binding;
    }
    match folder.split('/').next().unwrap() {
        "domain" => Layer::Domain,
        "platform" => Layer::Platform,
        "bench" | "infra" => Layer::Tool,
        "cli" | "examples" => Layer::Binary,
        _ => Layer::Service,
    }
}

/// The workspace's crates: name → (folder, names of ours that it needs to run).
fn crates() -> BTreeMap<String, (String, Vec<String>)> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            let manifest = Path::new(package["manifest_path"].as_str().unwrap());
            let folder = manifest.parent().unwrap().strip_prefix(root()).unwrap();
            let needs = package["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|dependency| dependency["kind"].is_null() && !dependency["path"].is_null())
                .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
                .collect();
            (
                package["name"].as_str().unwrap().to_owned(),
                (folder.to_str().unwrap().to_owned(), needs),
            )
        })
        .collect()
}

#[test]
fn dependencies_point_one_way() {
    let crates = crates();
    let mut wrong = Vec::new();
    for (name, (folder, needs)) in &crates {
        for need in needs {
            let (from, to) = (layer(folder), layer(&crates[need].0));
            let allowed = match from {
                Layer::Domain => false,
                Layer::Platform => to == Layer::Platform,
                _ => to < from,
            };
            if !allowed {
                wrong.push(format!("{name} ({folder}) may not need {need}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_select_has_an_order() {
    let mut wrong = Vec::new();
    for file in sources(&root()) {
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let next = text.lines().nth(number + 1).unwrap_or_default();
            let opens = line.trim_end().ends_with(concat!("select", "! {"));
            if opens && next.trim() != "biased;" {
                wrong.push(format!("{}:{}", file.display(), number + 1));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "a select without `biased;` draws its branch from a generator that no seed reaches: {wrong:#?}"
    );
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                found.extend(sources(&path));
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
