// A list that the server gives page by page, newest first, with filters that are part of the address.

import { el, fill, trouble } from './dom.js';
import { to } from './route.js';

/**
 * Shows it. `read(cursor)` asks for a page, `draw(items)` shows what came so far, `filters` are
 * fields whose values become the query of the address.
 */
export async function browse(page, visit, { heading, filters, read, draw, above }) {
  const items = [];
  const list = el('div');
  const more = el('div', { class: 'more' });
  const form = el(
    'form',
    {
      class: 'filters',
      'aria-label': 'Which ones',
      onsubmit: (event) => {
        event.preventDefault();
        apply(form, visit);
      },
      onchange: (event) => event.target.tagName === 'SELECT' && apply(form, visit),
    },
    ...filters,
    el('button', { type: 'submit' }, 'Show'),
  );
  fill(page, el('h1', {}, heading), above, form, list, more);
  const next = async (cursor) => {
    const { body } = await read(cursor);
    items.push(...body.items);
    fill(list, draw(items));
    fill(more, body.next_cursor && button(body.next_cursor));
  };
  const button = (cursor) =>
    el(
      'button',
      {
        type: 'button',
        onclick: async (event) => {
          event.target.disabled = true;
          await next(cursor).catch((error) => error.name === 'AbortError' || fill(more, trouble(error), button(cursor)));
        },
      },
      'More',
    );
  await next();
}

function apply(form, visit) {
  const query = Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, value.trim()]));
  const { stream, ...rest } = query;
  const fragment = stream === undefined ? to(visit.page, visit.subject, rest) : to(stream ? 'streams' : 'events', stream, rest);
  if (location.hash === fragment) dispatchEvent(new HashChangeEvent('hashchange'));
  else location.hash = fragment;
}
