// Which page is shown, and what is around it.
//
//   fragment ─▶ route ─▶ one page, which gets `main` and a visit ─▶ the next fragment ends the visit

import { get } from './api.js';
import { el, fill, tick, trouble } from './dom.js';
import { paths } from './paths.js';
import { ofStream, read, to } from './route.js';
import { isId, kindOf } from './words.js';
import * as events from './events.js';
import * as order from './order.js';
import * as orders from './orders.js';
import * as overview from './overview.js';
import * as saga from './saga.js';
import * as sagas from './sagas.js';
import * as views from './views.js';

const main = document.getElementById('main');
const connection = document.getElementById('connection');
let leaving = null;

/** The module that shows a page, and the entry of the navigation that it belongs to. */
function pageOf({ page, subject }) {
  const pages = {
    overview: [overview, 'overview'],
    sagas: [subject ? saga : sagas, 'sagas'],
    orders: [subject ? order : orders, 'orders'],
    events: [events, 'events'],
    streams: [events, 'events'],
    views: [views, 'views'],
  };
  return pages[page] ?? [null, null];
}

async function go() {
  leaving?.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const route = read(location.hash);
  const [module, entry] = pageOf(route);
  for (const link of document.querySelectorAll('nav a')) {
    if (link.dataset.page === entry) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  connected(null);
  const body = el('div', { class: 'page' });
  fill(main, body);
  if (!module) {
    titled('Not here');
    fill(body, el('h1', {}, 'There is no such page'), el('p', {}, el('a', { href: to('overview') }, 'To the overview')));
    return;
  }
  const visit = {
    ...route,
    signal,
    titled,
    connected: (state) => signal.aborted || connected(state),
    /** Something to end when the page is left. */
    until: (end) => signal.addEventListener('abort', end),
    /** Calls it now and then, while the page is shown and seen, until what this gives is called. */
    every: (ms, work) => {
      const timer = setInterval(() => document.hidden || work(), ms);
      const stop = () => clearInterval(timer);
      signal.addEventListener('abort', stop);
      return stop;
    },
  };
  try {
    await module.show(body, visit);
  } catch (error) {
    if (error.name === 'AbortError' || signal.aborted) return;
    titled('Not shown');
    const again = el('button', { type: 'button', onclick: go }, 'Try again');
    fill(body, el('h1', {}, error.status === 404 ? 'There is nothing here' : 'This cannot be shown'), trouble(error), again);
  }
}

function titled(text) {
  document.title = text ? `${text} · Recourse` : 'Recourse';
}

const STATES = {
  live: ['live', 'Live'],
  lost: ['lost', 'Disconnected: coming back'],
  ended: ['idle', 'Ended'],
};

/** Shows whether what is on the page is kept up to date; nothing where it is not meant to be. */
function connected(state) {
  const [kind, text] = STATES[state] ?? ['', ''];
  if (connection.textContent !== text) connection.textContent = text;
  connection.className = kind;
  document.body.classList.toggle('is-lost', kind === 'lost');
}

/** Where an id leads: to the saga, the order or the payment's order that has it; or to a stream. */
async function find(text) {
  if (!isId(text)) return kindOf(text) ? ofStream(text) : null;
  for (const [path, page] of [
    [paths.saga, 'sagas'],
    [paths.order, 'orders'],
  ]) {
    if (await there(path, text)) return to(page, text);
  }
  const payment = await there(paths.payment, text);
  return payment && to('orders', payment.order_id);
}

async function there(path, id) {
  try {
    return (await get(path, { id })).body;
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

const finder = document.getElementById('find');
finder.addEventListener('submit', async (event) => {
  event.preventDefault();
  const field = finder.elements.what;
  const text = field.value.trim();
  if (!text) return;
  try {
    const found = await find(text);
    field.setCustomValidity(found ? '' : 'Nothing has this id. A stream is named like order-…');
    if (found) {
      field.value = '';
      location.hash = found;
    }
  } catch (error) {
    field.setCustomValidity(error.message);
  }
  field.reportValidity();
});
finder.elements.what.addEventListener('input', ({ target }) => target.setCustomValidity(''));

document.addEventListener('keydown', (event) => {
  const typing = event.target.closest?.('input, select, textarea');
  if (event.key === '/' && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    finder.elements.what.focus();
  }
});

document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});

addEventListener('hashchange', () => {
  go();
  // Who cannot see the page hears that it is another one.
  main.focus({ preventScroll: true });
  scrollTo(0, 0);
});
setInterval(tick, 1000);
go();
