// Rebuilding a view while it is asked: filled beside the live one, compared, promoted, rolled back.
//
//   rebuild ─▶ filling ─▶ ready: how the rows differ ─▶ promote ─▶ roll back, or drop the one before

import { get, newKey, post } from './api.js';
import { badge, el, facts, fill, input, moment, table, trouble } from './dom.js';
import { paths } from './paths.js';
import { plain } from './words.js';

/** What can be asked of a rebuild that stands so, and what it does. */
const ACTS = {
  promote: ['Promote', 'What was rebuilt is asked from here on. The one before is fed until it is dropped.'],
  rollback: ['Roll back', 'What was asked before is asked again, at once.'],
  drop: ['Drop', 'The one of both that is not asked is gone: a rebuild that is not promoted ends, one that is cannot be rolled back.'],
};

const PATHS = { promote: 'rebuildPromote', rollback: 'rebuildRollback', drop: 'rebuildDrop' };

/** What can be done to a rebuild, by how it stands. */
export function actsOf(status) {
  return { filling: ['drop'], failed: ['drop'], ready: ['promote', 'drop'], promoted: ['rollback', 'drop'], rolled_back: ['promote', 'drop'] }[status] ?? [];
}

/** How far a rebuild is, in a few words. */
export function progress({ status, share, comparison }) {
  if (status === 'filling' && share !== undefined) return `${Math.floor(share * 100)} %`;
  if (!comparison) return '';
  if (comparison.unreadable) return 'the live one cannot be read';
  return comparison.different_rows === 0 ? 'no row differs' : `${comparison.different_rows.toLocaleString()} rows differ`;
}

/** The operator's part of the page of views: a cell a view, and a place where one is decided on. */
export function rebuilding(place, visit, look) {
  const open = (name, rebuild, act) => decide(place, visit, look, name, rebuild, act);
  const button = (name, rebuild, act, label) =>
    el('button', { type: 'button', class: 'quiet', onclick: () => open(name, rebuild, act), 'aria-label': `${label} ${name}` }, label);
  return ({ name, rebuild }) => {
    if (!rebuild) return button(name, null, null, 'Rebuild');
    const acts = actsOf(rebuild.status).map((act) => button(name, rebuild, act, ACTS[act][0]));
    return el('span', { class: 'acts' }, badge(rebuild.status), progress(rebuild), acts);
  };
}

async function decide(place, visit, look, name, rebuild, act) {
  const key = newKey();
  const parts = { name, id: rebuild?.rebuild_id };
  const [label, does] = act ? ACTS[act] : ['Rebuild', 'It is filled from the first event on beside the one that is asked, which goes on. Then both are compared.'];
  const said = el('div', { 'aria-live': 'polite' });
  let shown = null;
  try {
    shown = rebuild && (await get(paths.rebuild, parts, {}, visit));
  } catch (error) {
    if (error.name !== 'AbortError') fill(place, trouble(error));
    return;
  }
  const submit = el('button', { type: 'submit', class: act === 'drop' ? 'confirm' : '' }, `${label} ${name}`);
  const form = el(
    'form',
    {
      class: 'action',
      'aria-label': `${label} ${name}`,
      onsubmit: async (event) => {
        event.preventDefault();
        submit.disabled = true;
        const reason = form.elements.reason.value.trim();
        const path = act ? paths[PATHS[act]] : paths.rebuilds;
        try {
          await post(path, parts, reason ? { reason } : {}, { key, ifMatch: shown?.tag, signal: visit.signal });
          fill(place);
          await look();
        } catch (error) {
          if (error.name === 'AbortError') return;
          submit.disabled = false;
          if (error.status === 412) {
            await look();
            fill(place, el('p', { class: 'note warn' }, `Nothing was done: the rebuild of ${name} has moved on since you looked. Look again.`));
          } else fill(said, trouble(error));
        }
      },
    },
    el('h2', {}, `${label} ${name}?`),
    el('p', {}, does),
    shown && about(shown.body),
    el('div', { class: 'fields' }, input('reason', 'Reason, kept with what is done', '', { maxlength: '500' })),
    submit,
    ' ',
    el('button', { type: 'button', class: 'quiet', onclick: () => fill(place) }, 'Leave it'),
    said,
  );
  fill(place, el('section', { 'aria-label': `${label} ${name}` }, form));
  form.elements.reason.focus();
}

function about(rebuild) {
  const { comparison } = rebuild;
  return [
    facts(
      ['Status', badge(rebuild.status)],
      ['Began', moment(rebuild.started_at)],
      ['Generation', `${rebuild.generation}; ${rebuild.live} is asked`],
      ['Behind', rebuild.lag_events !== undefined && `${rebuild.lag_events.toLocaleString()} events`],
      ['Rows that are equal', comparison && comparison.equal_rows.toLocaleString()],
      ['Rows that differ', comparison && comparison.different_rows.toLocaleString()],
      ['Trouble', rebuild.detail ?? comparison?.unreadable],
    ),
    comparison?.differences?.length > 0 &&
      table(
        'The first rows that differ',
        [
          ['Row', ({ id }) => id, 'wide'],
          ['The live one', ({ kind }) => plain(kind)],
        ],
        comparison.differences,
      ),
  ];
}
