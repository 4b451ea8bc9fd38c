// What an operator does to a saga: first looked at, then done as it was looked at, or not at all.
//
//   choose, give a reason ─▶ dry run: the plan and the saga's tag ─▶ confirm under that tag
//        ▲                                                              │ 412: it has moved on
//        └──────────────────────── read again, and say so ◀─────────────┘

import { newKey, post } from './api.js';
import { badge, el, fill, input, select, trouble } from './dom.js';
import { paths } from './paths.js';
import { OPEN } from './words.js';

const ACTIONS = {
  pause: 'Pause: it records answers and sends nothing',
  resume: 'Resume: it goes on, with every deadline moved',
  retry: 'Retry: sends again what was refused or is lost',
  skip: 'Skip: leaves a step out, or its undo',
  compensate: 'Compensate: undoes it, past the point of no return too',
};

const RESULTS = {
  retry: [
    ['', 'only ask again'],
    ['done', 'it took effect'],
    ['left', 'it did not, and never will'],
  ],
  skip: [
    ['left', 'it is given up'],
    ['done', 'it was seen to elsewhere'],
  ],
};

const MOVED = 'Nothing was done: the saga has moved on since you looked. Here it is as it stands now; look again.';

/** Whether an action may name a step, and whether it must. */
function stepsFor(action, steps) {
  const named = steps.map(({ name }) => [name, name]);
  if (action === 'skip') return named;
  return action === 'retry' ? [['', 'every one that waits'], ...named] : null;
}

/** What a form says, as the server takes it. */
export function bodyOf(fields, isDryRun) {
  const { action, reason } = fields;
  const body = { action, reason: reason.trim(), dry_run: isDryRun };
  if (['retry', 'skip'].includes(action) && fields.step) body.step = fields.step;
  if (body.step && fields.result) body.result = fields.result;
  if (action === 'retry' && body.result && fields.reference?.trim()) body.reference = fields.reference.trim();
  return body;
}

/** The operator's part of a saga's page. */
export function operator(place, visit, { id, reload }) {
  const advice = el('div');
  const said = el('div', { 'aria-live': 'polite' });
  const plan = el('div');
  const fields = el('div', { class: 'fields' });
  const form = el(
    'form',
    {
      'aria-label': 'An action on this saga',
      class: 'action',
      onsubmit: (event) => {
        event.preventDefault();
        look();
      },
      oninput: () => fill(plan),
      onchange: (event) => ['action', 'step', 'result'].includes(event.target.name) && draw(read()),
    },
    fields,
    el('button', { type: 'submit' }, 'Show what it would do'),
  );
  let steps = [];
  let isOpen = null;
  let shown = '';

  const read = () => Object.fromEntries(new FormData(form));

  const draw = (given) => {
    const { action } = given;
    const choice = stepsFor(action, steps);
    const step = choice && (choice.some(([name]) => name === given.step) ? given.step : choice[0]?.[0]);
    const results = choice && step ? RESULTS[action] : null;
    fill(
      fields,
      select('action', 'Action', Object.entries(ACTIONS), action),
      choice && select('step', 'Step', choice, step),
      results && select('result', 'What became of it', results, given.result),
      action === 'retry' &&
        results &&
        given.result &&
        input('reference', "The provider's name for it, where known", given.reference, { maxlength: '128' }),
      input('reason', 'Reason, kept with what is done', given.reason, { required: true, maxlength: '500' }),
    );
  };

  const look = async () => {
    const asked = read();
    fill(said);
    fill(plan, el('p', { class: 'empty' }, 'Asking what it would do…'));
    try {
      const { body, tag } = await post(paths.sagaActions, { id }, bodyOf(asked, true), { key: newKey(), signal: visit.signal });
      const confirm = confirmation(asked, tag);
      fill(plan, planned(body), confirm, cancel());
      confirm.focus();
    } catch (error) {
      if (error.name !== 'AbortError') fill(plan, trouble(error));
    }
  };

  const cancel = () => el('button', { type: 'button', class: 'quiet', onclick: () => fill(plan) }, 'Leave it');

  const confirmation = (asked, tag) => {
    // The same key however often it is pressed: it is done once.
    const key = newKey();
    const button = el(
      'button',
      {
        type: 'button',
        class: 'confirm',
        onclick: async () => {
          button.disabled = true;
          try {
            const sent = await post(paths.sagaActions, { id }, bodyOf(asked, false), { key, ifMatch: tag, signal: visit.signal });
            fill(plan);
            fill(said, el('p', { class: 'note good' }, `${asked.action} is done: `, sent.body.words.join('; ')));
            await reload(sent.position);
          } catch (error) {
            if (error.name === 'AbortError') return;
            if (error.status === 412) await moved();
            else {
              fill(said, trouble(error));
              button.disabled = false;
            }
          }
        },
      },
      `Do it: ${asked.action}`,
    );
    return button;
  };

  /** Somebody, or the saga itself, was faster: what was looked at is not what it would be now. */
  const moved = async () => {
    fill(plan);
    fill(said, el('p', { class: 'note warn' }, MOVED));
    await reload();
  };

  const planned = (body) => [
    el('h3', {}, 'It would do this; nothing is done yet'),
    el('ol', { class: 'plan' }, body.words.map((line) => el('li', {}, line))),
    el('p', {}, 'The saga would be ', badge(body.status)),
  ];

  return {
    /** How the saga stands now: which steps can be named, and whether anything can be done. */
    stands(saga) {
      const now = OPEN.includes(saga.status);
      const isOther = JSON.stringify(steps) !== JSON.stringify(saga.steps);
      steps = saga.steps;
      // What was looked at is not what it would be now, and would be refused.
      if (shown !== JSON.stringify(saga) && plan.querySelector('.confirm:enabled')) {
        fill(plan);
        fill(said, el('p', { class: 'note warn' }, MOVED));
      }
      shown = JSON.stringify(saga);
      if (now !== isOpen) {
        isOpen = now;
        fill(place, now ? [advice, form, plan, said] : [said, el('p', { class: 'empty' }, 'It has ended: there is nothing to be done to it.')]);
        if (now) draw({ action: saga.status === 'paused' || saga.status === 'parked' ? 'resume' : 'pause' });
      } else if (now && isOther && form.elements.step) {
        draw(read());
      }
    },
    /** What the server says would help. */
    advise(actions) {
      const mine = actions.filter((one) => one.saga_id === id);
      const choose = (one) => () => {
        draw({ ...read(), action: one.action, step: one.step, result: undefined });
        fill(plan);
        form.elements.reason.focus();
      };
      fill(
        advice,
        mine.length > 0 &&
          el(
            'ul',
            { class: 'advice' },
            mine.map((one) =>
              el(
                'li',
                {},
                el('button', { type: 'button', class: 'quiet', onclick: choose(one) }, [one.action, one.step].filter(Boolean).join(' ')),
                el('span', {}, one.helps),
              ),
            ),
          ),
      );
    },
  };
}
