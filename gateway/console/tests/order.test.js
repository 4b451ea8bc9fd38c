import assert from 'node:assert/strict';
import { test } from 'node:test';

import { show } from '../order.js';
import { browser, visit } from './browser.js';

const ORDER = 'aaaaaaaa-0000-0000-0000-000000000000';
const money = { amount_minor: 3998, currency: 'EUR' };

const placed = {
  order_id: ORDER,
  customer_id: 'c',
  status: 'pending',
  total: money,
  lines: [],
  placed_at: '2026-01-01T00:00:00Z',
  saga_id: 's',
  saga: { status: 'running' },
  timeline: [],
};
const begun = { ...placed, payment: { payment_id: 'p', status: 'requested' } };
const completed = { ...begun, status: 'completed', saga: { status: 'completed' } };

/** Shows an order that becomes what `orders` say, one after the other. */
async function shown(orders) {
  const asked = [];
  const payment = { payment_id: 'p', status: 'authorized', amount: money, authorized: money, operations: [] };
  const page = browser((path) => {
    asked.push(path);
    if (path === '/v1/payments/p') return { body: payment };
    if (path.endsWith('/why')) return { body: { now: [], lines: [] } };
    return { body: orders.length > 1 ? orders.shift() : orders[0] };
  });
  const visited = visit(ORDER);
  await show(page, visited);
  return { page, visited, asked };
}

test('an order without a payment says so, and shows the payment once there is one', async () => {
  const { page, visited, asked } = await shown([placed, begun]);
  assert.match(page.textContent, /No payment was begun/);
  assert.doesNotMatch(page.textContent, /Cannot read/);
  await visited.work[0]();
  assert.ok(asked.includes('/v1/payments/p'));
  assert.doesNotMatch(page.textContent, /No payment was begun/);
  assert.match(page.textContent, /authorized/);
});

test('an order is looked at until nothing happens to it any more', async () => {
  const { visited } = await shown([begun, completed]);
  assert.equal(visited.work.length, 1);
  await visited.work[0]();
  assert.equal(visited.work.length, 0);
  assert.deepEqual(visited.said, ['live', 'ended']);
  const settled = await shown([completed]);
  assert.equal(settled.visited.work.length, 0);
});

test('an order with a return under way is looked at', async () => {
  const back = { return_id: 'r', status: 'accepted', saga_id: 'q', refund: money };
  const { visited } = await shown([{ ...completed, returns: [back] }]);
  assert.equal(visited.work.length, 1);
  const { visited: closed } = await shown([{ ...completed, returns: [{ ...back, status: 'closed' }] }]);
  assert.equal(closed.work.length, 0);
});
