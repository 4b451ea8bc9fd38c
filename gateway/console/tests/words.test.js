import assert from 'node:assert/strict';
import { test } from 'node:test';

import { bodyOf } from '../operator.js';
import { at, paths } from '../paths.js';
import { actsOf, progress } from '../rebuilds.js';
import { ofStream, read, to } from '../route.js';
import { bytes, distance, duration, isId, kindOf, money, part, plain, shortStream, times, tone } from '../words.js';

const eur = (amount_minor) => ({ amount_minor, currency: 'EUR' });

test('money is whole minor units in the form of its currency', () => {
  assert.equal(money(eur(1999), 'en'), '€19.99');
  assert.equal(money(eur(5), 'en'), '€0.05');
  assert.equal(money(eur(-3998), 'en'), '-€39.98');
  assert.equal(money(eur(-5), 'en'), '-€0.05');
  assert.equal(money({ amount_minor: 1234, currency: 'JPY' }, 'en'), '¥1,234');
  assert.equal(money({ amount_minor: 1234, currency: 'KWD' }, 'en'), 'KWD\u00a01.234');
  assert.equal(money(undefined), '');
});

test('a sum that a double cannot hold is still right to the cent', () => {
  assert.equal(money(eur(9007199254740991), 'en'), '€90,071,992,547,409.91');
  assert.deepEqual(times(3, eur(890)), eur(2670));
});

test('durations and distances are said as people say them', () => {
  const said = [-5, 0, 350, 4200, 59_999, 60_000, 185_000, 7_800_000, 259_200_000].map(duration);
  assert.deepEqual(said, ['0 ms', '0 ms', '350 ms', '4.2 s', '59 s', '1 min 0 s', '3 min 5 s', '2 h 10 min', '3 d']);
  const now = Date.parse('2026-11-21T09:30:00Z');
  assert.equal(distance('2026-11-21T09:30:42Z', now), 'in 42 s');
  assert.equal(distance('2026-11-21T09:29:00Z', now), '1 min 0 s ago');
});

test('sizes, parts, kinds and tones', () => {
  assert.deepEqual([0, 999, 1400, 999_999_999_999].map(bytes), ['0 B', '999 B', '1.4 kB', '1000 GB']);
  assert.equal(part({ step: 'confirm-order' }), 'confirm-order');
  assert.equal(part({ step: 'reserve-stock', item: '0' }), 'reserve-stock 0');
  assert.equal(kindOf('order-1-2'), 'order');
  assert.equal(kindOf('order'), '');
  assert.equal(shortStream('saga-33ac2783-7d92-55f3-a7c1-e0824ced933a'), 'saga-33ac2783');
  assert.equal(shortStream('stock-tea-assam'), 'stock-tea-assam');
  assert.equal(plain('needs_attention'), 'needs attention');
  assert.equal(tone('needs_attention'), 'bad');
  assert.equal(tone('unheard-of'), 'idle');
  assert.ok(isId('33ac2783-7d92-55f3-a7c1-e0824ced933a'));
  assert.ok(!isId('order-33ac2783-7d92-55f3-a7c1-e0824ced933a'));
});

test('a fragment names a page, and what it shows, both ways', () => {
  for (const [page, subject, query, fragment] of [
    ['overview', null, {}, '#/'],
    ['sagas', null, { status: 'needs_attention' }, '#/sagas?status=needs_attention'],
    ['sagas', 'a-b', {}, '#/sagas/a-b'],
    ['streams', 'stock-tea/1 ?#%', {}, '#/streams/stock-tea%2F1%20%3F%23%25'],
    ['events', null, { types: 'order,a&b=c' }, '#/events?types=order%2Ca%26b%3Dc'],
  ]) {
    assert.equal(to(page, subject, query), fragment);
    const back = read(fragment);
    assert.deepEqual([back.page, back.subject, Object.fromEntries(back.query)], [page, subject, query]);
  }
  assert.equal(read('').page, 'overview');
  assert.equal(read('#/sagas/%E0%A4%A').subject, '%E0%A4%A', 'what cannot be decoded stays as it is');
  assert.equal(ofStream('saga-1'), '#/sagas/1');
  assert.equal(ofStream('payment-1-2'), '#/streams/payment-1-2');
});

test('an address has its parts escaped, and no empty question', () => {
  assert.equal(at(paths.saga, { id: '../orders?x#y' }), '/v1/sagas/..%2Forders%3Fx%23y');
  assert.equal(at(paths.sagas, {}, { status: '', cursor: undefined, limit: 50 }), '/v1/sagas?limit=50');
  assert.equal(at(paths.stream, { stream: 'stock-a' }, { types: 'a,b' }), '/v1/streams/stock-a?types=a%2Cb');
});

test('an action says only what the action takes', () => {
  const given = { action: 'pause', step: 'x', result: 'done', reference: 'r', reason: ' to look ' };
  assert.deepEqual(bodyOf(given, true), { action: 'pause', reason: 'to look', dry_run: true });
  assert.deepEqual(bodyOf({ ...given, action: 'retry', result: '' }, false), {
    action: 'retry',
    reason: 'to look',
    dry_run: false,
    step: 'x',
  });
  assert.deepEqual(bodyOf({ ...given, action: 'retry', step: '' }, false), { action: 'retry', reason: 'to look', dry_run: false });
  assert.deepEqual(bodyOf({ ...given, action: 'skip' }, false), {
    action: 'skip',
    reason: 'to look',
    dry_run: false,
    step: 'x',
    result: 'done',
  });
});

test('a rebuild is told by how far it is, and what can be done to it by how it stands', () => {
  assert.equal(progress({ status: 'filling', share: 0.999 }), '99 %');
  assert.equal(progress({ status: 'ready', comparison: { different_rows: 0 } }), 'no row differs');
  assert.equal(progress({ status: 'promoted', comparison: { different_rows: 3 } }), '3 rows differ');
  assert.equal(progress({ status: 'ready', comparison: { different_rows: 0, unreadable: 'x' } }), 'the live one cannot be read');
  assert.deepEqual(actsOf('ready'), ['promote', 'drop']);
  assert.deepEqual(actsOf('promoted'), ['rollback', 'drop']);
  assert.deepEqual(actsOf('dropped'), []);
});
