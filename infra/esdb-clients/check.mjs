// The official JavaScript client against a server of EventStoreDB's protocol: node check.mjs ADDRESS
//
// Appends, reads both ways, follows with a filter and goes on from its checkpoint.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';

// From where it is installed, not from beside this file.
const require = createRequire(`${process.cwd()}/`);
const kurrent = require('@kurrent/kurrentdb-client');
const { BACKWARDS, END, KurrentDBClient, NO_STREAM, jsonEvent, streamNameFilter } = kurrent;

const client = KurrentDBClient.connectionString(`kurrentdb://${process.argv[2]}?tls=false`);
const run = randomUUID();
const [stream, other] = [`note-${run}`, `aside-${run}`];
const event = (number) => jsonEvent({ type: 'note.written.v1', data: { number } });

async function numbers(events, count = Infinity) {
  const seen = [];
  for await (const { event } of events) {
    seen.push(event.data.number);
    if (seen.length === count) break;
  }
  return seen;
}

// Appends, one event and several, at the revision that is expected.
await client.appendToStream(stream, event(0), { streamState: NO_STREAM });
await client.appendToStream(stream, [event(1), event(2)], { streamState: 0n });
const { position } = await client.appendToStream(other, event(7));
await assert.rejects(
  client.appendToStream(stream, event(9), { streamState: 0n }),
  kurrent.WrongExpectedVersionError,
);

// Reads, both ways.
assert.deepEqual(await numbers(client.readStream(stream)), [0, 1, 2]);
const newest = { direction: BACKWARDS, fromRevision: END, maxCount: 2 };
assert.deepEqual(await numbers(client.readStream(stream, newest)), [2, 1]);
assert.deepEqual(await numbers(client.readStream(stream, { fromRevision: 1n })), [1, 2]);
await assert.rejects(
  numbers(client.readStream(`nothing-${run}`)),
  kurrent.StreamNotFoundError,
);
for await (const { event } of client.readAll({
  direction: BACKWARDS,
  fromPosition: END,
  maxCount: 1,
})) {
  assert.equal(event.streamId, other);
  assert.equal(event.position.commit, position.commit);
}

// Follows with a filter, which passes over the other stream and says so with a checkpoint.
let passed;
const checkpoint = new Promise((resolve) => {
  passed = (reached) => {
    if (reached.commit >= position.commit) resolve(reached);
  };
});
const filter = () =>
  streamNameFilter({
    prefixes: [`note-${run}`],
    checkpointReached: (_, reached) => passed(reached),
  });
const first = client.subscribeToAll({ filter: filter() });
assert.deepEqual(await numbers(first, 3), [0, 1, 2]);
// Leaving the loop has ended that one.
const second = client.subscribeToAll({ filter: filter() });
second.on('data', () => {});
const reached = await checkpoint;
await second.unsubscribe();
await client.appendToStream(stream, event(3), { streamState: 2n });
const third = client.subscribeToAll({ filter: filter(), fromPosition: reached });
assert.deepEqual(await numbers(third, 1), [3]);

// Live, on one stream.
const live = client.subscribeToStream(stream, { fromRevision: 2n });
await client.appendToStream(stream, event(4), { streamState: 3n });
assert.deepEqual(await numbers(live, 2), [3, 4]);
await client.dispose();
console.log('@kurrent/kurrentdb-client (JavaScript): appends, reads and follows');
