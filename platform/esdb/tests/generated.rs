//! What is generated from the `.proto` files is what is committed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, its helpers too"
)]

use std::{collections::BTreeMap, env, fs, path::Path};

fn generate(root: &Path, into: &Path) {
    let files = [
        "shared.proto",
        "status.proto",
        "streams.proto",
        "gossip.proto",
        "serverfeatures.proto",
    ];
    let files = protox::compile(files, [root.join("proto")]).unwrap();
    tonic_prost_build::configure()
        .build_client(true)
        .build_transport(false)
        .bytes(".")
        .btree_map(".")
        .out_dir(into)
        .compile_fds(files)
        .unwrap();
}

fn texts(folder: &Path) -> BTreeMap<String, String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (
                entry.file_name().into_string().unwrap(),
                fs::read_to_string(entry.path()).unwrap(),
            )
        })
        .collect()
}

#[test]
fn what_is_generated_is_committed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed = root.join("src/generated");
    let fresh = tempfile::tempdir().unwrap();
    generate(root, fresh.path());
    if env::var_os("RECOURSE_GENERATE").is_some() {
        for (name, text) in texts(fresh.path()) {
            fs::write(committed.join(name), text).unwrap();
        }
    }
    let (fresh, committed) = (texts(fresh.path()), texts(&committed));
    assert!(fresh.keys().eq(committed.keys()), "other files");
    for (name, text) in fresh {
        assert!(
            committed.get(&name) == Some(&text),
            "{name} is old: run this test with RECOURSE_GENERATE=1"
        );
    }
}
