//! Schemas as files: a folder with one a type and version.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::Value;

use crate::{
    Catalog,
    compatibility::{self, Breach, Rule},
    text,
};

/// Why a folder of schemas cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or the folder cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file or the folder cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not JSON.
    #[error("{} is not JSON", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

/// How the schemas of a catalog stand to those of a folder.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Types of the catalog.
    pub types: usize,
    /// Types whose files are not what an export writes, without breaking anything.
    pub changed: Vec<String>,
    /// Types without a file.
    pub new: Vec<String>,
    /// What needs a new version instead.
    pub breaches: Vec<Incompatible>,
}

/// A change of a type that needs a new version instead.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Incompatible {
    /// Which type.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Which field; empty for the whole.
    pub path: String,
    /// Which rule.
    pub rule: &'static str,
    /// For a person.
    pub detail: String,
}

/// Compares a catalog with the files of a folder.
///
/// # Errors
/// Where a file cannot be read, or is not JSON.
pub fn compare(catalog: &Catalog, dir: &Path) -> Result<Report, Error> {
    let mut committed = read(dir)?;
    let mut report = Report::default();
    for (name, schema) in catalog.iter() {
        report.types += 1;
        let Some(file) = committed.remove(name) else {
            report.new.push(name.to_owned());
            continue;
        };
        let old: Value = match serde_json::from_str(&file) {
            Ok(old) => old,
            Err(source) => {
                let path = path(dir, name);
                return Err(Error::Malformed { path, source });
            }
        };
        let breaches = compatibility::check(&old, schema);
        if breaches.is_empty() && file != text(schema) {
            report.changed.push(name.to_owned());
        }
        let incompatible = breaches.iter().map(|breach| incompatible(name, breach));
        report.breaches.extend(incompatible);
    }
    for name in committed.keys() {
        let gone = Breach {
            path: String::new(),
            rule: Rule::TypeRemoved,
            detail: String::new(),
        };
        report.breaches.push(incompatible(name, &gone));
    }
    Ok(report)
}

fn incompatible(name: &str, breach: &Breach) -> Incompatible {
    Incompatible {
        type_name: name.to_owned(),
        path: breach.path.clone(),
        rule: breach.rule.code(),
        detail: breach.to_string(),
    }
}

/// The schemas of a folder, by type; none where there is no folder.
fn read(dir: &Path) -> Result<BTreeMap<String, String>, Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Read { path, source }
    };
    let mut files = BTreeMap::new();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
        Err(error) => return Err(failed(dir)(error)),
    };
    for entry in entries {
        let file = entry.map_err(failed(dir))?.path();
        let name = file.file_name().and_then(|name| name.to_str());
        if let Some(name) = name.and_then(|name| name.strip_suffix(".json")) {
            let content = fs::read_to_string(&file).map_err(failed(&file))?;
            files.insert(name.to_owned(), content);
        }
    }
    Ok(files)
}

/// Writes a file for each type, over what is there: see [`compare`] first.
///
/// # Errors
/// Where a file cannot be written.
pub fn export(catalog: &Catalog, dir: &Path) -> Result<(), Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Write { path, source }
    };
    fs::create_dir_all(dir).map_err(failed(dir))?;
    for (name, schema) in catalog.iter() {
        let file = path(dir, name);
        fs::write(&file, text(schema)).map_err(failed(&file))?;
    }
    Ok(())
}

fn path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.json"))
}
