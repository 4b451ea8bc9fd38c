// The history: all of it, or one stream. Secrets are left out by the server.

import { get } from './api.js';
import { el, fill, input, link, moment, section, select, table } from './dom.js';
import { browse } from './pages.js';
import { paths } from './paths.js';
import { ofStream, to } from './route.js';
import { kindOf, shortStream } from './words.js';

export async function show(page, visit) {
  const stream = visit.page === 'streams' ? visit.subject : null;
  visit.titled(stream ?? 'Events');
  const { query } = visit;
  const direction = query.get('direction') ?? 'backward';
  const wanted = { types: query.get('types'), direction };
  const [path, parts] = stream ? [paths.stream, { stream }] : [paths.event, {}];
  const page_ = ofStream(stream ?? '-');
  const about = stream && ['order', 'saga'].includes(kindOf(stream)) && el('p', {}, link(page_, `The ${kindOf(stream)} that it is of`));
  await browse(page, visit, {
    heading: stream ? 'Stream' : 'Events',
    above: [stream && el('p', { class: 'id whole' }, stream), about],
    filters: [
      input('stream', 'Stream', stream, { placeholder: 'all of them, or order-…' }),
      input('types', 'Types', wanted.types, { placeholder: 'order,payment.captured' }),
      select('direction', 'Sort', [['backward', 'newest first'], ['forward', 'oldest first']], direction),
    ],
    read: (cursor) => get(path, parts, { ...wanted, cursor, limit: 50 }, visit),
    draw: (events) =>
      table(
        'Events',
        [
          ['Position', ({ position }) => position.split('-')[0], 'number'],
          ['At', ({ recorded_at: at }) => moment(at)],
          ['Type', ({ type }) => type],
          [stream ? 'Revision' : 'Stream', ({ stream: name, revision }) => (stream ? String(revision) : el('a', { href: to('streams', name), class: 'id', title: name }, shortStream(name)))],
          ['Data', detail, 'wide'],
        ],
        events,
        'No event is like that.',
      ),
  });
}

/** What it holds, shown when it is opened: most are never looked into. */
function detail({ id, data, metadata }) {
  const inside = el('div');
  const show = () => fill(inside, json('Data', data), json('Metadata', { id, ...metadata }));
  const details = el('details', { ontoggle: () => inside.hasChildNodes() || show() }, el('summary', {}, preview(data)), inside);
  return details;
}

function preview(data) {
  const text = JSON.stringify(data);
  return text.length > 60 ? `${text.slice(0, 58)}…` : text;
}

function json(heading, value) {
  return section(heading, el('pre', { tabindex: '0' }, JSON.stringify(value, null, 2)));
}
