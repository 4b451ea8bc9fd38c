// The sagas, by how they stand, and page by page.

import { get } from './api.js';
import { badge, deadline, idLink, input, moment, select, span, table } from './dom.js';
import { standsAt } from './overview.js';
import { browse } from './pages.js';
import { paths } from './paths.js';
import { to } from './route.js';
import { OPEN, plain } from './words.js';

const STATUSES = [...OPEN, 'completed', 'compensated'];
const AGES = [
  ['', 'any age'],
  ['60000', 'a minute ago'],
  ['600000', 'ten minutes ago'],
  ['3600000', 'an hour ago'],
  ['86400000', 'a day ago'],
];

export async function show(page, visit) {
  visit.titled('Sagas');
  const { query } = visit;
  const filters = [
    select('status', 'Status', [['', 'any'], ...STATUSES.map((status) => [status, plain(status)])], query.get('status')),
    input('definition', 'Kind', query.get('definition'), { placeholder: 'fulfilment, return' }),
    select('older_than_ms', 'Began more than', AGES, query.get('older_than_ms')),
  ];
  const wanted = Object.fromEntries(['status', 'definition', 'older_than_ms'].map((name) => [name, query.get(name)]));
  await browse(page, visit, {
    heading: 'Sagas',
    filters,
    read: (cursor) => get(paths.sagas, {}, { ...wanted, cursor, limit: 50 }, visit),
    draw: (sagas) =>
      table(
        'Sagas',
        [
          ['Saga', ({ saga_id: id }) => idLink(to('sagas', id), id)],
          ['Kind', ({ definition }) => definition],
          ['Status', ({ status }) => badge(status)],
          ['Order', ({ correlation_id: id }) => idLink(to('orders', id), id)],
          ['Began', ({ started_at: at }) => moment(at)],
          ['Took', ({ started_at: from, ended_at: end }) => (end ? span(from, end) : '')],
          ['Deadline', ({ ended_at: end, deadline_at: at }) => (end ? '' : deadline(at))],
          ['Stands at', (saga) => (saga.ended_at ? (saga.reason?.code ?? '') : standsAt(saga)), 'wide'],
        ],
        sagas,
        'No saga is like that.',
      ),
  });
}
