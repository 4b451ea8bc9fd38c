-- A book: double entry. The rules are the database's own, so that no program and no hand can
-- put an entry into it that is not balanced. `$book` is the schema.

CREATE TABLE accounts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL,
    -- The sum of the account's postings, in minor units, kept by a trigger below.
    balance bigint NOT NULL DEFAULT 0,
    UNIQUE (name, currency)
);

CREATE TABLE entries (
    number bigint PRIMARY KEY CHECK (number > 0),
    position text NOT NULL,
    event_id uuid NOT NULL,
    event_type text NOT NULL,
    stream text NOT NULL,
    correlation_id uuid NOT NULL,
    at timestamptz NOT NULL
);
CREATE INDEX entries_by_correlation ON entries (correlation_id, number);

-- Postings come before their entries, so that none can be added to an entry that is in the book.
CREATE TABLE postings (
    entry bigint NOT NULL REFERENCES entries (number) DEFERRABLE INITIALLY DEFERRED,
    account bigint NOT NULL REFERENCES accounts (id),
    amount bigint NOT NULL CHECK (amount <> 0),
    PRIMARY KEY (entry, account)
);
CREATE INDEX postings_by_account ON postings (account, entry);

-- How many entries are in the book. Whoever adds to it holds this row, so that only one does.
CREATE TABLE book (
    id integer PRIMARY KEY CHECK (id = 1),
    entries bigint NOT NULL
);
INSERT INTO book (id, entries) VALUES (1, 0);

-- Balances move with the postings.
CREATE FUNCTION take_postings() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE last bigint;
BEGIN
    SELECT entries INTO STRICT last FROM "$book".book FOR UPDATE;
    IF EXISTS (SELECT FROM added WHERE entry <= last) THEN
        RAISE integrity_constraint_violation USING MESSAGE = 'the entry is in the book already';
    END IF;
    UPDATE "$book".accounts SET balance = balance + moved.amount
    FROM (SELECT account, sum(amount) AS amount FROM added GROUP BY account) AS moved
    WHERE id = moved.account;
    RETURN NULL;
END $$;
CREATE TRIGGER take_postings AFTER INSERT ON postings REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION take_postings();

-- Entries are numbered one after the other.
CREATE FUNCTION take_entries() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    last bigint;
    count bigint;
    low bigint;
    high bigint;
BEGIN
    SELECT entries INTO STRICT last FROM "$book".book FOR UPDATE;
    SELECT count(*), min(number), max(number) INTO count, low, high FROM added;
    IF low <> last + 1 OR high <> last + count THEN
        RAISE integrity_constraint_violation
            USING MESSAGE = 'the entries are not numbered one after the other';
    END IF;
    UPDATE "$book".book SET entries = last + count;
    RETURN NULL;
END $$;
CREATE TRIGGER take_entries AFTER INSERT ON entries REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION take_entries();

-- The rule of the book: held when the transaction commits, over all that it added at once.
CREATE FUNCTION hold_balance() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE wrong bigint;
BEGIN
    -- What sums to zero and is not zero has two postings at least. None at all is no sum.
    SELECT number INTO wrong
    FROM "$book".entries LEFT JOIN (
        SELECT postings.entry, sum(postings.amount) AS total
        FROM "$book".postings JOIN "$book".accounts ON accounts.id = postings.account
        WHERE postings.entry > OLD.entries AND postings.entry <= NEW.entries
        GROUP BY postings.entry, accounts.currency
    ) AS sums ON sums.entry = number
    WHERE number > OLD.entries AND number <= NEW.entries AND sums.total IS DISTINCT FROM 0
    LIMIT 1;
    IF FOUND THEN
        RAISE check_violation USING MESSAGE =
            format('the entry %s does not sum to zero in each of its currencies', wrong);
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER hold_balance AFTER UPDATE ON book DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION hold_balance();

-- What is in the book stays as it is, and only its own triggers move what follows from it.
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE integrity_constraint_violation USING MESSAGE = TG_ARGV[0];
END $$;
CREATE TRIGGER postings_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON postings
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a posting is never changed');
CREATE TRIGGER entries_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('an entry is never changed');
CREATE TRIGGER accounts_stay BEFORE DELETE OR TRUNCATE ON accounts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('an account is never deleted');
CREATE TRIGGER balances_follow BEFORE UPDATE ON accounts
    FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0)
    EXECUTE FUNCTION refuse('a balance follows from the postings');
CREATE TRIGGER balances_begin_at_zero BEFORE INSERT ON accounts
    FOR EACH ROW WHEN (NEW.balance <> 0)
    EXECUTE FUNCTION refuse('a balance follows from the postings');
CREATE TRIGGER book_stays BEFORE DELETE OR TRUNCATE ON book
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a book is never emptied');
CREATE TRIGGER book_follows BEFORE UPDATE ON book
    FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0)
    EXECUTE FUNCTION refuse('how many entries there are follows from the entries');
