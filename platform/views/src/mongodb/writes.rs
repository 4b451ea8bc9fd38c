//! The commands that write: documents under their condition, and the checkpoint after them.

use mongodb::bson::{Bson, Document as Fields, doc};

use super::{
    layout, queries,
    server::{Failure, Server},
};
use crate::{Checkpoint, documents::Collection};

/// How much one command writes, roughly: a message of the protocol has 48 MB.
const MAX_BYTES_AT_ONCE: usize = 8 << 20;

/// The id is taken.
const DUPLICATE: i32 = 11_000;

/// A bad value, a bad field name, a document or a key that is too large.
const OF_DOCUMENTS: [i32; 9] = [2, 9, 52, 55, 56, 57, 10_334, 17_280, 17_419];

/// There is no such collection.
pub(super) const NO_COLLECTION: i32 = 26;

/// One replacement, and how large it is.
pub(super) struct Update {
    pub(super) fields: Fields,
    pub(super) bytes: usize,
}

/// Makes the indexes that are not there yet.
pub(super) async fn make_indexes(server: &Server, collection: &Collection) -> Result<(), Failure> {
    let table = server.database.collection::<Fields>(&collection.table());
    let names = server.within(async { Ok(table.list_index_names().await?) });
    let names = match names.await {
        Err(failure) if failure.code() == Some(NO_COLLECTION) => Vec::new(),
        names => names?,
    };
    let missing: Vec<Fields> = queries::indexes(collection)
        .into_iter()
        .filter(|(name, _)| !names.contains(name))
        .map(|(name, key)| doc! { "name": name, "key": key })
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let command = doc! { "createIndexes": collection.table(), "indexes": missing };
    server.command(command).await.map(|_| ())
}

/// Replaces a document unless it is further already. The greater of two states is the further
/// one; nothing else decides, so that a server finds the document by its id alone.
pub(super) fn replacement(id: &str, state: Fields) -> Fields {
    doc! {
        "q": { "_id": id },
        "u": { "$max": { layout::STATE: state } },
        "upsert": true,
    }
}

/// Makes replacements.
pub(super) async fn replace(
    server: &Server,
    collection: &Collection,
    updates: Vec<Fields>,
) -> Result<(), Failure> {
    let taken = try_replace(server, collection, updates).await?;
    // Somebody else inserted these at the same moment: this time they are found.
    let taken = try_replace(server, collection, taken).await?;
    match taken.first() {
        None => Ok(()),
        Some(update) => Err(Failure::NotKept(format!("an id is taken: {update}"))),
    }
}

/// Makes replacements, and gives those whose ids were taken while they were inserted.
async fn try_replace(
    server: &Server,
    collection: &Collection,
    mut updates: Vec<Fields>,
) -> Result<Vec<Fields>, Failure> {
    let mut taken = Vec::new();
    while !updates.is_empty() {
        let answer = update(server, collection, updates.clone()).await?;
        let Ok(errors) = answer.get_array("writeErrors") else {
            break;
        };
        let mut rest = 0;
        for error in errors {
            let (index, code, says) = write_error(error)?;
            if code != DUPLICATE {
                return Err(not_written(code, says));
            }
            taken.extend(updates.get(index).cloned());
            rest = rest.max(index.saturating_add(1));
        }
        // A server that stops at the first of them is asked for the rest.
        let done = usize::try_from(number(&answer, "n")).unwrap_or_default();
        if done.saturating_add(errors.len()) >= updates.len() {
            break;
        }
        updates = updates.split_off(rest.min(updates.len()));
    }
    Ok(taken)
}

async fn update(
    server: &Server,
    collection: &Collection,
    updates: Vec<Fields>,
) -> Result<Fields, Failure> {
    let command = doc! {
        "update": collection.table(),
        "updates": updates,
        "ordered": false,
        "writeConcern": { "w": "majority" },
        "maxTimeMS": i64::try_from(server.max_time().as_millis()).unwrap_or(i64::MAX),
    };
    let answer = server.command(command).await?;
    match answer.get_document("writeConcernError") {
        Ok(error) => Err(Failure::NotKept(error.to_string())),
        Err(_) => Ok(answer),
    }
}

/// False where it is not the expected one.
pub(super) async fn move_checkpoint(
    server: &Server,
    collection: &Collection,
    expected: Option<&Checkpoint>,
    next: &Checkpoint,
) -> Result<bool, Failure> {
    let whole = doc! {
        "definition": layout::definition(collection),
        "checkpoint": layout::checkpoint(next),
    };
    let mut condition = doc! { "_id": layout::CHECKPOINT };
    match expected {
        Some(expected) => {
            for (name, value) in layout::checkpoint(expected) {
                condition.insert(format!("checkpoint.{name}"), value);
            }
        }
        // Found by nothing, so that it is inserted, which its id allows once.
        None => {
            condition.insert("definition", doc! { "$exists": false });
        }
    }
    let change = doc! { "q": condition, "u": whole, "upsert": expected.is_none() };
    let answer = update(server, collection, vec![change]).await?;
    if let Ok([error, ..]) = answer.get_array("writeErrors").map(Vec::as_slice) {
        let (_, code, says) = write_error(error)?;
        return match code {
            DUPLICATE => Ok(false),
            _ => Err(not_written(code, says)),
        };
    }
    Ok(number(&answer, "n") == 1)
}

/// What is wrong with a document stays wrong; what is wrong with the server passes.
fn not_written(code: i32, says: String) -> Failure {
    if OF_DOCUMENTS.contains(&code) {
        Failure::NotTaken(says)
    } else {
        Failure::NotKept(says)
    }
}

/// Cuts updates into what one command takes.
pub(super) fn parts(updates: Vec<Update>, max_documents: usize) -> Vec<Vec<Fields>> {
    let mut parts = Vec::new();
    let mut part = Vec::new();
    let mut bytes: usize = 0;
    for update in updates {
        bytes = bytes.saturating_add(update.bytes);
        part.push(update.fields);
        if part.len() >= max_documents || bytes >= MAX_BYTES_AT_ONCE {
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

/// A number of an answer, in whichever width the server has it.
fn number(answer: &Fields, name: &str) -> i64 {
    match answer.get(name) {
        Some(Bson::Int32(number)) => i64::from(*number),
        Some(Bson::Int64(number)) => *number,
        _ => 0,
    }
}

/// The index, the code and the text of an error of one update.
fn write_error(error: &Bson) -> Result<(usize, i32, String), Failure> {
    let error = error
        .as_document()
        .ok_or_else(|| Failure::Damaged(format!("the answer {error} cannot be read")))?;
    Ok((
        usize::try_from(number(error, "index")).unwrap_or_default(),
        i32::try_from(number(error, "code")).unwrap_or_default(),
        error.get_str("errmsg").unwrap_or_default().to_owned(),
    ))
}
