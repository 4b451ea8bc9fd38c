// What an operator sees first: how many sagas stand how, which want somebody, how fast orders settle,
// and how far the views are.

import { clock, get } from './api.js';
import { badge, countdown, deadline, el, fill, idLink, link, moment, section, span, svg, table } from './dom.js';
import { Live } from './live.js';
import { paths } from './paths.js';
import { to } from './route.js';
import { Tally } from './tally.js';
import { listed } from './views.js';
import { OPEN, bytes, plain } from './words.js';

/** As many of each status as are counted; above it is said that there are more. */
const MAX_PAGES = 5;
const SHOWN = 25;
const BARS = 60;
const DRAW_EVERY_MS = 250;

export async function show(page, visit) {
  visit.titled('Overview');
  const places = {
    counters: el('div', { class: 'counters' }),
    rate: el('div', { class: 'rate' }),
    attention: el('div'),
    recent: el('div'),
    views: el('div'),
    storage: el('p', { class: 'aside' }),
  };
  fill(
    page,
    el('h1', {}, 'Overview'),
    places.counters,
    places.rate,
    section('Open sagas, those that want somebody first', places.attention),
    el('div', { class: 'columns' }, section('Settled last', places.recent), section('Views', places.views, places.storage)),
  );
  await Promise.all([follow(places, visit), views(places, visit), storage(places, visit)]);
}

async function follow(places, visit) {
  const tally = new Tally();
  let position = null;
  // From the first of all listings on: what moves while the others are read is told then.
  for (const status of OPEN) {
    const first = await listAll(tally, status, visit.signal);
    position ??= first;
  }
  // What has settled before gives the rate a past.
  for (const status of ['completed', 'compensated']) {
    const { body } = await get(paths.sagas, {}, { status, limit: 200 }, visit);
    tally.load(body.items);
  }
  let isStale = true;
  const draw = () => {
    if (isStale) lists(places, tally);
    isStale = false;
    figures(places, tally);
  };
  draw();
  const live = new Live(paths.sagasWatch, {}, position, {
    message: (_, saga) => {
      tally.apply(saga);
      isStale = true;
    },
    reset: () => location.reload(),
    state: visit.connected,
  });
  visit.until(() => live.close());
  visit.every(DRAW_EVERY_MS, () => isStale && draw());
  visit.every(1000, () => figures(places, tally));
}

/** Where the log was when the first of them was listed: from there on it is watched. */
async function listAll(tally, status, signal) {
  let [cursor, first] = [undefined, null];
  for (let page = 0; page < MAX_PAGES; page += 1) {
    const { body, position } = await get(paths.sagas, {}, { status, limit: 200, cursor }, { signal });
    first ??= position;
    tally.load(body.items);
    cursor = body.next_cursor;
    if (!cursor) return first;
  }
  tally.more.add(status);
  return first;
}

function figures({ counters, rate }, tally) {
  const counts = tally.counts();
  const now = clock.now();
  fill(
    counters,
    OPEN.map((status) =>
      el(
        'a',
        { class: `counter ${counts[status] > 0 ? status : 'none'}`, href: to('sagas', null, { status }) },
        el('strong', {}, `${counts[status]}${tally.more.has(status) ? '+' : ''}`),
        el('span', {}, plain(status)),
      ),
    ),
    el(
      'div',
      { class: 'counter settled' },
      el('strong', {}, String(tally.settledInMinute(now))),
      el('span', {}, 'settled in a minute'),
    ),
  );
  const bars = tally.bars(now, BARS);
  fill(rate, chart(bars));
}

/** Settled sagas over the last minutes, a bar each few seconds. */
function chart(bars) {
  const highest = Math.max(1, ...bars);
  const sum = bars.reduce((one, other) => one + other, 0);
  const drawn = bars.map((count, index) => {
    const height = (count / highest) * 38;
    return svg('rect', { x: index * 10 + 1, y: 40 - height, width: 8, height, rx: 1.5 });
  });
  const label = `${sum} sagas settled in the last five minutes, at most ${highest} in five seconds`;
  return [
    svg('svg', { viewBox: '0 0 600 40', role: 'img', 'aria-label': label, preserveAspectRatio: 'none' }, drawn),
    el('p', { class: 'aside' }, label),
  ];
}

function lists({ attention, recent }, tally) {
  const open = tally.attention(SHOWN);
  const all = Object.values(tally.counts()).reduce((one, other) => one + other, 0);
  fill(
    attention,
    table(
      'Open sagas',
      [
        ['Saga', ({ saga_id: id }) => idLink(to('sagas', id), id)],
        ['Kind', ({ definition }) => definition],
        ['Status', ({ status }) => badge(status)],
        ['Stands at', standsAt, 'wide'],
        ['Began', ({ started_at: at }) => countdown(at)],
        ['Deadline', ({ deadline_at: at }) => deadline(at)],
      ],
      open,
      'Nothing is open: every saga has ended.',
    ),
    all > open.length && el('p', { class: 'aside' }, `${all - open.length} more: `, link(to('sagas'), 'all sagas')),
  );
  fill(
    recent,
    table(
      'Settled last',
      [
        ['Saga', ({ saga_id: id }) => idLink(to('sagas', id), id)],
        ['Kind', ({ definition }) => definition],
        ['End', ({ status }) => badge(status)],
        ['At', ({ settled }) => moment(new Date(settled).toISOString())],
        ['Took', ({ started_at: from, settled }) => span(from, new Date(settled).toISOString())],
      ],
      tally.recent(),
      'None yet.',
    ),
  );
}

/** What keeps it, or which steps it is at. */
export function standsAt(saga) {
  if (saga.trouble) return saga.trouble;
  const now = saga.steps.filter(({ status }) => ['running', 'overdue', 'undoing', 'refused'].includes(status));
  return now.map(({ name, status }) => (status === 'running' ? name : `${name} (${plain(status)})`)).join(', ');
}

async function views({ views: place }, visit) {
  const look = async () => fill(place, await listed(visit.signal));
  await look();
  // Whether the page is live, the stream of sagas says.
  visit.every(2000, () => look().catch(() => {}));
}

/** How the log grows, where this server keeps one. */
async function storage({ storage: place }, visit) {
  const look = async () => {
    const { body } = await get(paths.storage, {}, {}, visit);
    const { log, disk } = body;
    fill(
      place,
      `The log has ${log.events.toLocaleString()} events in ${bytes(log.bytes)}; the disk has ${bytes(disk.free_bytes)} free. `,
      badge(disk.level),
    );
  };
  // A gateway beside other processes has no disk to speak of.
  const quietly = () => look().catch(() => fill(place));
  await quietly();
  visit.every(10_000, quietly);
}
