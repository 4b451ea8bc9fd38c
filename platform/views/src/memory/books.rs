//! Books in memory.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use crate::{
    Checkpoint,
    books::{self, Balance, Book, Booked, Contents, Entry, Error, Query},
};

/// Books in memory.
#[derive(Clone, Debug, Default)]
pub struct Books {
    books: Arc<Mutex<BTreeMap<String, Kept>>>,
}

#[derive(Clone, Debug, Default)]
struct Kept {
    checkpoint: Option<Checkpoint>,
    /// By account and currency.
    balances: BTreeMap<(String, String), i64>,
    /// The first is number 1.
    entries: Vec<Entry>,
}

impl Books {
    /// No code panics while it holds the lock, so a poisoned one is still whole.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Kept>> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn balances(&self) -> Vec<Balance> {
        self.balances
            .iter()
            .map(|((account, currency), amount_minor)| Balance {
                account: account.clone(),
                currency: currency.clone(),
                amount_minor: *amount_minor,
            })
            .collect()
    }

    fn booked(&self) -> impl DoubleEndedIterator<Item = (u64, &Entry)> {
        let number = |index: usize| u64::try_from(index).unwrap_or(u64::MAX).saturating_add(1);
        let entries = self.entries.iter().enumerate();
        entries.map(move |(index, entry)| (number(index), entry))
    }
}

#[async_trait]
impl books::Books for Books {
    async fn checkpoint(&self, book: &Book) -> Result<Option<Checkpoint>, Error> {
        let books = self.lock();
        Ok(books.get(&book.table()).and_then(|kept| kept.checkpoint))
    }

    async fn commit(
        &self,
        book: &Book,
        expected: Option<&Checkpoint>,
        next: &Checkpoint,
        entries: Vec<Entry>,
    ) -> Result<(), Error> {
        let refused = |what: String| Error::Refused {
            book: book.table(),
            what,
        };
        let mut books = self.lock();
        let kept = books.entry(book.table()).or_default();
        if kept.checkpoint.as_ref() != expected {
            return Err(Error::Moved { book: book.table() });
        }
        // What can fail comes first: nothing is half done.
        let mut balances = kept.balances.clone();
        for entry in &entries {
            books::check(&entry.postings).map_err(|what| refused(what.to_string()))?;
            for posting in &entry.postings {
                let account = (posting.account.clone(), posting.currency.clone());
                let balance = balances.entry(account).or_default();
                *balance = balance
                    .checked_add(posting.amount_minor)
                    .ok_or_else(|| refused("a balance would leave its range".to_owned()))?;
            }
        }
        kept.balances = balances;
        kept.entries.extend(entries.into_iter().map(sorted));
        kept.checkpoint = Some(*next);
        Ok(())
    }

    async fn balances(&self, book: &Book) -> Result<Vec<Balance>, Error> {
        let books = self.lock();
        Ok(books
            .get(&book.table())
            .map(Kept::balances)
            .unwrap_or_default())
    }

    async fn entries(&self, book: &Book, query: &Query) -> Result<Vec<Booked>, Error> {
        let books = self.lock();
        let Some(kept) = books.get(&book.table()) else {
            return Ok(Vec::new());
        };
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let wanted = |number: u64, entry: &Entry| {
            query.below.is_none_or(|below| number < below)
                && query
                    .correlation_id
                    .is_none_or(|id| id == entry.correlation_id)
                && query.account.as_ref().is_none_or(|account| {
                    let mut postings = entry.postings.iter();
                    postings.any(|posting| posting.account == *account)
                })
        };
        Ok(kept
            .booked()
            .rev()
            .filter(|(number, entry)| wanted(*number, entry))
            .take(limit)
            .map(|(number, entry)| Booked {
                number,
                entry: entry.clone(),
            })
            .collect())
    }

    async fn scan(
        &self,
        book: &Book,
        visit: &mut (dyn FnMut(Booked) + Send),
    ) -> Result<Contents, Error> {
        let books = self.lock();
        let Some(kept) = books.get(&book.table()) else {
            return Ok(Contents::default());
        };
        for (number, entry) in kept.booked() {
            visit(Booked {
                number,
                entry: entry.clone(),
            });
        }
        Ok(Contents {
            checkpoint: kept.checkpoint,
            balances: kept.balances(),
        })
    }

    async fn discard(&self, book: &Book) -> Result<(), Error> {
        self.lock().remove(&book.table());
        Ok(())
    }
}

/// An entry as a database gives it back.
fn sorted(mut entry: Entry) -> Entry {
    entry.postings.sort();
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keeps_the_contract_of_the_port() {
        crate::conformance::books::run(|| async { Books::default() }).await;
    }
}
