//! What a client was told, one JSON line an answer: the file that promise 5 is held against.
//!
//! A line is written, whole and unbuffered, before its answer counts for anything, so the
//! file outlives the client as the log must outlive the server. Whoever dies in the middle of
//! a line leaves a torn last one, which says nothing and is passed over.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    path::Path,
};

use recourse_domain::{OrderId, ReturnId, Sku};
use recourse_event_store::Position;
use serde::{Deserialize, Serialize};

/// One acknowledged command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Acknowledged {
    /// An order was placed.
    Order {
        /// Which.
        order_id: OrderId,
        /// The answer's `Recourse-Position`.
        position: Position,
        /// The status that the answer gave, where the saga had ended by then (201).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<String>,
    },
    /// A return was requested.
    Return {
        /// Which.
        return_id: ReturnId,
        /// Of which order.
        order_id: OrderId,
        /// The answer's `Recourse-Position`.
        position: Position,
        /// The status that the answer gave, where the saga had ended by then (201).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<String>,
    },
    /// Goods came in.
    Receipt {
        /// Of which product.
        sku: Sku,
        /// The delivery note.
        reference: String,
        /// The answer's `Recourse-Position`.
        position: Position,
    },
    /// A product was put.
    Product {
        /// Which.
        product: Sku,
        /// The answer's `Recourse-Position`.
        position: Position,
    },
}

impl Acknowledged {
    /// The position that the client was told.
    #[must_use]
    pub const fn position(&self) -> Position {
        match self {
            Self::Order { position, .. }
            | Self::Return { position, .. }
            | Self::Receipt { position, .. }
            | Self::Product { position, .. } => *position,
        }
    }
}

/// Writes the file.
#[derive(Debug)]
pub struct Writer {
    file: File,
    line: Vec<u8>,
}

impl Writer {
    /// Opens the file to go on at its end, and makes it where it is not.
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: OpenOptions::new().create(true).append(true).open(path)?,
            line: Vec::with_capacity(160),
        })
    }

    /// Writes one line and hands it to the operating system.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&mut self, acknowledged: &Acknowledged) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, acknowledged)?;
        self.line.push(b'\n');
        self.file.write_all(&self.line)
    }
}

/// Reads the file line by line. The second value is the line's number, from 1; a line that
/// cannot be read is an error of its own and the lines after it still come.
///
/// # Errors
/// Where the file cannot be opened.
pub fn read(path: &Path) -> io::Result<impl Iterator<Item = (io::Result<Acknowledged>, u64)>> {
    let mut lines = BufReader::new(File::open(path)?);
    let mut number = 0_u64;
    Ok(std::iter::from_fn(move || {
        loop {
            let mut line = Vec::new();
            match lines.read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) if line.last() != Some(&b'\n') => return None,
                Ok(_) => {}
                Err(error) => return Some((Err(error), number)),
            }
            number = number.saturating_add(1);
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            return Some((
                serde_json::from_slice(&line).map_err(io::Error::from),
                number,
            ));
        }
    }))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn order(number: u64) -> Acknowledged {
        Acknowledged::Order {
            order_id: OrderId(Uuid::from_u128(number.into())),
            position: Position::dense(number),
            status: number.is_multiple_of(2).then(|| "completed".to_owned()),
        }
    }

    #[test]
    fn lines_come_back_as_written_and_a_torn_last_one_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acknowledged");
        let mut written = vec![
            order(1),
            order(2),
            Acknowledged::Return {
                return_id: ReturnId(Uuid::from_u128(7)),
                order_id: OrderId(Uuid::from_u128(2)),
                position: Position::dense(3),
                status: Some("closed".to_owned()),
            },
            Acknowledged::Receipt {
                sku: Sku::parse("tea-1").unwrap(),
                reference: "note-1".into(),
                position: Position::dense(3),
            },
            Acknowledged::Product {
                product: Sku::parse("tea-1").unwrap(),
                position: Position::dense(4),
            },
        ];
        let mut writer = Writer::open(&path).unwrap();
        for one in &written {
            writer.write(one).unwrap();
        }
        // Whoever comes next goes on at the end.
        let mut writer = Writer::open(&path).unwrap();
        writer.write(&order(5)).unwrap();
        written.push(order(5));
        writer.file.write_all(br#"{"order_id":"0000"#).unwrap();
        let back: Vec<_> = read(&path)
            .unwrap()
            .map(|(line, _)| line.unwrap())
            .collect();
        assert_eq!(back, written);
    }

    #[test]
    fn a_line_that_is_not_one_is_named_and_the_next_still_comes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acknowledged");
        std::fs::write(
            &path,
            "{\"order\":1}\n\n{\"product\":\"a\",\"position\":\"1\"}\n",
        )
        .unwrap();
        let lines: Vec<_> = read(&path).unwrap().collect();
        assert!(lines[0].0.is_err() && lines[0].1 == 1);
        assert!(lines[1].0.is_ok() && lines[1].1 == 3);
    }
}
