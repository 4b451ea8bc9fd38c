// The orders, by how they stand and whose they are.

import { get } from './api.js';
import { amount, badge, idLink, input, moment, select, table } from './dom.js';
import { browse } from './pages.js';
import { paths } from './paths.js';
import { to } from './route.js';
import { plain, short } from './words.js';

const STATUSES = ['pending', 'confirmed', 'completed', 'rejected', 'cancelled', 'partially_returned', 'returned'];

export async function show(page, visit) {
  visit.titled('Orders');
  const { query } = visit;
  const wanted = { status: query.get('status'), customer_id: query.get('customer_id') };
  await browse(page, visit, {
    heading: 'Orders',
    filters: [
      select('status', 'Status', [['', 'any'], ...STATUSES.map((status) => [status, plain(status)])], wanted.status),
      input('customer_id', 'Customer', wanted.customer_id, { placeholder: 'a whole id' }),
    ],
    read: (cursor) => get(paths.orders, {}, { ...wanted, cursor, limit: 50 }, visit),
    draw: (orders) =>
      table(
        'Orders',
        [
          ['Order', ({ order_id: id }) => idLink(to('orders', id), id)],
          ['Status', ({ status }) => badge(status)],
          ['Why', ({ reason }) => reason?.code ?? ''],
          ['Total', ({ total }) => amount(total), 'number'],
          ['Payment', ({ payment }) => badge(payment?.status)],
          ['Saga', ({ saga_id: id, saga }) => (id ? [idLink(to('sagas', id), id), ' ', badge(saga?.status)] : '')],
          ['Customer', ({ customer_id: id }) => idLink(to('orders', null, { customer_id: id }), short(id)), 'wide'],
          ['Placed', ({ placed_at: at }) => moment(at)],
        ],
        orders,
        'No order is like that.',
      ),
  });
}
