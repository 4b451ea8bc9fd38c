-- A book: double entry. The rules are the database's own, so that no program and no hand can
-- put an entry into it that is not balanced.

CREATE TABLE accounts (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    currency TEXT NOT NULL,
    -- The sum of the account's postings, in minor units, kept by the trigger below. A sum past
    -- 64 bits would be a REAL, which this column does not take.
    balance INTEGER NOT NULL DEFAULT 0,
    UNIQUE (name, currency)
) STRICT;

CREATE TABLE entries (
    number INTEGER PRIMARY KEY CHECK (number > 0),
    position TEXT NOT NULL,
    event_id BLOB NOT NULL,
    event_type TEXT NOT NULL,
    stream TEXT NOT NULL,
    correlation_id BLOB NOT NULL,
    at INTEGER NOT NULL
) STRICT;
CREATE INDEX entries_by_correlation ON entries (correlation_id);

-- By account first: an account's statement and its new postings are a range. An entry's own are
-- found by asking each account, of which there are few.
CREATE TABLE postings (
    account INTEGER NOT NULL REFERENCES accounts (id),
    entry INTEGER NOT NULL REFERENCES entries (number),
    amount INTEGER NOT NULL CHECK (amount <> 0),
    PRIMARY KEY (account, entry)
) STRICT, WITHOUT ROWID;

-- How many entries are in the book. Those with higher numbers are being written.
CREATE TABLE book (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    entries INTEGER NOT NULL
) STRICT;
INSERT INTO book (only, entries) VALUES (1, 0);

-- Entries get into the book together, by one UPDATE of its row. This is where each is held to be
-- balanced and where the balances move.
CREATE TRIGGER entries_are_balanced BEFORE UPDATE ON book BEGIN
    SELECT RAISE(ABORT, 'the entries are not numbered one after the other')
    WHERE NEW.entries <> OLD.entries + (SELECT count(*) FROM entries WHERE number > OLD.entries)
       OR NEW.entries <> coalesce((SELECT max(number) FROM entries), 0);
    -- What sums to zero and is not zero has two postings at least.
    SELECT CASE
        WHEN max(total <> 0)
        THEN RAISE(ABORT, 'an entry does not sum to zero in each of its currencies')
        WHEN count(DISTINCT entry) <> NEW.entries - OLD.entries
        THEN RAISE(ABORT, 'an entry has no postings')
    END
    FROM (
        SELECT postings.entry, sum(postings.amount) AS total
        FROM accounts CROSS JOIN postings
            ON postings.account = accounts.id AND postings.entry > OLD.entries
        GROUP BY postings.entry, accounts.currency
    );
    UPDATE accounts SET balance = balance + (
        SELECT sum(amount) FROM postings WHERE account = accounts.id AND entry > OLD.entries
    )
    WHERE EXISTS (SELECT 1 FROM postings WHERE account = accounts.id AND entry > OLD.entries);
END;

-- What is in the book stays as it is.
CREATE TRIGGER no_posting_is_added_later BEFORE INSERT ON postings
    WHEN NEW.entry <= (SELECT entries FROM book)
BEGIN SELECT RAISE(ABORT, 'the entry is in the book already'); END;
CREATE TRIGGER no_posting_is_changed BEFORE UPDATE ON postings
BEGIN SELECT RAISE(ABORT, 'a posting is never changed'); END;
CREATE TRIGGER no_posting_is_deleted BEFORE DELETE ON postings
BEGIN SELECT RAISE(ABORT, 'a posting is never deleted'); END;
CREATE TRIGGER no_entry_is_changed BEFORE UPDATE ON entries
BEGIN SELECT RAISE(ABORT, 'an entry is never changed'); END;
CREATE TRIGGER no_entry_is_deleted BEFORE DELETE ON entries
BEGIN SELECT RAISE(ABORT, 'an entry is never deleted'); END;
