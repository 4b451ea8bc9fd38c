// One saga as it happens: its steps, what remains, what an undo would do, why it stands so, and what an
// operator can do.

import { operator } from './operator.js';
import { get } from './api.js';
import { badge, countdown, deadline, el, facts, fill, link, moment, parts, section, span, table, trouble } from './dom.js';
import { Live } from './live.js';
import { paths } from './paths.js';
import { to } from './route.js';
import { tell } from './telling.js';
import { OPEN, plain } from './words.js';

/** How long changes may gather before the story is asked for again. */
const GATHER_MS = 300;

export async function show(page, visit) {
  const id = visit.subject;
  visit.titled(`Saga ${id}`);
  const { body: first, position } = await get(paths.saga, { id }, {}, visit);
  const places = { head: el('div'), steps: el('div'), plans: el('div', { class: 'columns' }), why: el('div'), operator: el('div') };
  fill(
    page,
    places.head,
    section('Steps', places.steps),
    places.plans,
    section('Why', places.why),
    section('Operator', places.operator),
  );
  const acting = operator(places.operator, visit, {
    id,
    /** Reads the saga again, at least as new as what was just written. */
    reload: async (after) => {
      const before = told;
      const { body } = await get(paths.saga, { id }, {}, { signal: visit.signal, position: after });
      // What was told meanwhile may be newer.
      if (told === before) draw(body, after);
    },
  });
  let told = 0;
  let gathering = null;
  const story = async (after) => {
    gathering = null;
    try {
      const { body: why } = await get(paths.sagaWhy, { id }, {}, { signal: visit.signal, position: after });
      fill(places.why, tell(why));
      acting.advise(why.actions ?? []);
    } catch (error) {
      if (error.name !== 'AbortError') fill(places.why, trouble(error));
    }
  };
  const draw = (saga, after) => {
    fill(places.head, heading(saga));
    fill(places.steps, stepsOf(saga));
    fill(places.plans, plansOf(saga));
    acting.stands(saga);
    gathering ??= setTimeout(() => story(after), GATHER_MS);
  };
  visit.until(() => clearTimeout(gathering));
  draw(first);
  clearTimeout(gathering);
  await story();
  follow(position, id, visit, first, (saga) => {
    told += 1;
    draw(saga);
  });
}

function follow(position, id, visit, first, draw) {
  if (!OPEN.includes(first.status)) return visit.connected('ended');
  const live = new Live(paths.sagaWatch, { id }, position, {
    message: (_, saga) => {
      draw(saga);
      if (OPEN.includes(saga.status)) return;
      live.close();
      visit.connected('ended');
    },
    reset: () => location.reload(),
    state: visit.connected,
  });
  visit.until(() => live.close());
}

function heading(saga) {
  return [
    el('h1', {}, `Saga ${saga.definition} `, badge(saga.status)),
    el('p', { class: 'id whole' }, saga.saga_id),
    saga.trouble && el('p', { class: 'note bad' }, saga.trouble),
    saga.reason && el('p', { class: 'note' }, `It went back: ${saga.reason.detail} (${saga.reason.code})`),
    facts(
      ['Order', link(to('orders', saga.correlation_id), saga.correlation_id)],
      ['Began', saga.ended_at ? moment(saga.started_at) : [moment(saga.started_at), ', ', countdown(saga.started_at)]],
      ['Ended', saga.ended_at && [moment(saga.ended_at), ', after ', span(saga.started_at, saga.ended_at)]],
      ['Deadline', saga.ended_at ? null : [moment(saga.deadline_at), ', ', deadline(saga.deadline_at)]],
      ['Stream', link(to('streams', `saga-${saga.saga_id}`), 'its events')],
    ),
  ];
}

function stepsOf(saga) {
  return table(
    'Steps',
    [
      ['Step', ({ name }) => name, 'short'],
      ['Kind', ({ kind }) => kind],
      ['Status', ({ status }) => badge(status)],
      ['Attempts', ({ attempts }) => (attempts ? String(attempts) : ''), 'number'],
      ['Asked', ({ started_at: at }) => moment(at)],
      ['Answered', ({ answered_at: at }) => moment(at)],
      ['Took', ({ started_at: from, answered_at: end, status }) => (['done', 'refused'].includes(status) ? span(from, end) : '')],
      ['Answer', ({ refused }) => (refused ? `refused: ${refused.detail} (${refused.code})` : ''), 'wide'],
    ],
    saga.steps,
  );
}

function plansOf(saga) {
  if (!OPEN.includes(saga.status)) {
    return section('What remains', el('p', { class: 'empty' }, `Nothing: it is ${plain(saga.status)}.`));
  }
  return [
    section('What remains', parts(saga.remaining, 'Nothing.')),
    section('What an undo would do, in this order', parts(saga.undo_plan, 'Nothing is to be undone.')),
  ];
}
