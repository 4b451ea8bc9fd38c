// The views that queries are answered from, and how far behind the log each is.

import { get } from './api.js';
import { badge, el, fill, table } from './dom.js';
import { paths } from './paths.js';
import { rebuilding } from './rebuilds.js';
import { duration } from './words.js';

export async function show(page, visit) {
  visit.titled('Views');
  const place = el('section', { 'aria-label': 'All views' });
  const deciding = el('div');
  fill(
    page,
    el('h1', {}, 'Views'),
    el('p', { class: 'aside' }, 'Each is folded from the log and can be filled from it anew, while it is asked. No decision reads one.'),
    deciding,
    place,
  );
  let acts = null;
  const look = async () => {
    fill(place, await listed(visit.signal, acts));
    visit.connected('live');
  };
  acts = rebuilding(deciding, visit, look);
  await look();
  visit.every(1000, () => look().catch((error) => error.name !== 'AbortError' && visit.connected('lost')));
}

/** How many events one is behind, where the log counts them. */
function behind({ lag_events: events, lag_ms: ms }) {
  if (events === undefined) return ms === 0 ? 'up to date' : 'behind';
  return events === 0 ? 'up to date' : `${events.toLocaleString()} events`;
}

/** All of them; where `acts` says what can be done to one, with all that is known of each. */
export async function listed(signal, acts = null) {
  const { body } = await get(paths.projections, {}, {}, { signal });
  const columns = [
    ['View', ({ name }) => name],
    ['Status', ({ status }) => badge(status)],
    ['Behind', behind, 'number'],
    ['Lag', ({ lag_ms: ms }) => duration(ms), 'number'],
  ];
  const more = [
    ['Version', ({ version, generation }) => (generation ? `${version}, generation ${generation}` : String(version)), 'short'],
    ['Position', ({ position }) => position, 'number'],
    ['Detail', ({ detail }) => detail ?? ''],
    ['Rebuild', acts, 'wide'],
  ];
  return table('Views', acts ? [...columns, ...more] : columns, body.items);
}
