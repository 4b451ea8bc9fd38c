import assert from 'node:assert/strict';
import { beforeEach, mock, test } from 'node:test';

import { Live } from '../live.js';
import { paths } from '../paths.js';

/** As much of a browser as a stream needs. */
class Source extends EventTarget {
  static all = [];
  isClosed = false;
  constructor(url) {
    super();
    this.url = url;
    Source.all.push(this);
  }
  close() {
    this.isClosed = true;
  }
  send(name, id, data) {
    const event = new Event(name);
    this.dispatchEvent(Object.assign(event, { lastEventId: id, data: JSON.stringify(data) }));
  }
  static last() {
    return Source.all.at(-1);
  }
}

class Page extends EventTarget {
  hidden = false;
  turn(hidden) {
    this.hidden = hidden;
    this.dispatchEvent(new Event('visibilitychange'));
  }
}

let told;
const watch = () =>
  new Live(paths.sagasWatch, {}, '7-a', {
    message: (name, data) => told.push([name, data]),
    reset: () => told.push('reset'),
    state: (state) => told.push(state),
  });

beforeEach(() => {
  told = [];
  Source.all = [];
  globalThis.EventSource = Source;
  globalThis.document = new Page();
  mock.timers.reset();
  mock.timers.enable({ apis: ['setTimeout'] });
});

test('it goes on after the last position that it saw, and says that it was away', () => {
  const live = watch();
  assert.equal(Source.last().url, '/v1/sagas/watch?from=7-a');
  Source.last().onopen();
  Source.last().send('saga', '9-a', { saga_id: 'x' });
  Source.last().onerror();
  assert.deepEqual(told, ['live', ['saga', { saga_id: 'x' }], 'lost']);
  assert.ok(Source.all[0].isClosed);
  mock.timers.tick(999);
  assert.equal(Source.all.length, 1);
  mock.timers.tick(1);
  assert.equal(Source.last().url, '/v1/sagas/watch?from=9-a');
  live.close();
});

test('it waits longer each time that nobody is there, up to a bound, and begins anew once live', () => {
  const live = watch();
  for (const wait of [1000, 2000, 4000, 8000, 15000, 15000]) {
    const before = Source.all.length;
    Source.last().onerror();
    mock.timers.tick(wait - 1);
    assert.equal(Source.all.length, before);
    mock.timers.tick(1);
    assert.equal(Source.all.length, before + 1);
  }
  Source.last().onopen();
  Source.last().onerror();
  mock.timers.tick(1000);
  assert.equal(Source.all.length, 8);
  live.close();
});

test('a page that nobody sees holds no connection, and misses nothing', () => {
  const live = watch();
  Source.last().send('saga', '8-a', {});
  document.turn(true);
  assert.ok(Source.last().isClosed);
  document.turn(false);
  assert.equal(Source.last().url, '/v1/sagas/watch?from=8-a');
  live.close();
  document.turn(true);
  document.turn(false);
  assert.equal(Source.all.length, 2, 'who has left does not come back');
});

test('the end and another log are told, and nothing is opened after them', () => {
  for (const [name, said] of [
    ['end', 'ended'],
    ['reset', 'reset'],
  ]) {
    told = [];
    watch();
    const { length } = Source.all;
    Source.last().send(name, '9-a', {});
    assert.deepEqual(told, [said]);
    assert.ok(Source.last().isClosed);
    mock.timers.tick(60_000);
    assert.equal(Source.all.length, length);
  }
});
