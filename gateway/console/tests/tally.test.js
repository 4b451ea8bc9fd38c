import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Tally } from '../tally.js';

const NOW = Date.parse('2026-11-21T09:30:00.000Z');
const ago = (s) => new Date(NOW - s * 1000).toISOString();
const saga = (id, status, more = {}) => ({ saga_id: id, status, started_at: ago(100), steps: [], ...more });

test('open sagas are counted by status, and those that want somebody come first', () => {
  const tally = new Tally();
  tally.load([
    saga('a', 'running', { started_at: ago(1) }),
    saga('b', 'running', { started_at: ago(9) }),
    saga('c', 'needs_attention'),
    saga('d', 'paused'),
  ]);
  assert.deepEqual(tally.counts(), { needs_attention: 1, parked: 0, paused: 1, compensating: 0, running: 2 });
  assert.deepEqual(tally.attention(3).map((one) => one.saga_id), ['c', 'd', 'b']);
  tally.apply(saga('c', 'compensating'));
  assert.equal(tally.counts().compensating, 1);
  assert.equal(tally.counts().needs_attention, 0);
});

test('a saga that ends is counted once, however often it is told, and does not come back', () => {
  const tally = new Tally();
  tally.apply(saga('a', 'running'));
  tally.apply(saga('a', 'completed', { ended_at: ago(5) }));
  tally.apply(saga('a', 'completed', { at: ago(5) }));
  tally.apply(saga('a', 'running'));
  assert.equal(tally.counts().running, 0);
  assert.equal(tally.settledInMinute(NOW), 1);
  assert.deepEqual(tally.recent().map((one) => one.saga_id), ['a']);
});

test('what settled is seen by when it did, and forgotten after the window', () => {
  const tally = new Tally();
  for (const [index, s] of [2, 3, 30, 59, 90, 280, 400].entries()) {
    tally.apply(saga(`s${index}`, index % 2 ? 'completed' : 'compensated', { ended_at: ago(s) }));
  }
  assert.equal(tally.settledInMinute(NOW), 4);
  const bars = tally.bars(NOW, 60);
  assert.equal(bars.length, 60);
  assert.equal(bars.reduce((one, other) => one + other), 6);
  assert.equal(bars[59], 2);
  assert.equal(bars[4], 1);
});

test('the newest that settled are kept, the newest first', () => {
  const tally = new Tally();
  for (let s = 1; s <= 40; s += 1) tally.apply(saga(`s${s}`, 'completed', { ended_at: ago(s) }));
  const recent = tally.recent().map((one) => one.saga_id);
  assert.equal(recent.length, 12);
  assert.deepEqual(recent.slice(0, 3), ['s1', 's2', 's3']);
});
