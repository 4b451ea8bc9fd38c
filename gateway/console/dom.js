// Building the page. Whatever comes from a person or the server goes in as text: nothing here
// takes HTML.

import { distance, duration, money, part, plain, short, tone } from './words.js';
import { clock } from './api.js';

/**
 * An element. Of its properties, `class`, `href`, `data-…` and `aria-…` are attributes and
 * `onclick` and its like are listeners. Children are elements, texts, or lists of them; none where
 * there is nothing.
 */
export function el(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith('on')) made.addEventListener(key.slice(2), value);
    else if (key in made && typeof value !== 'string') made[key] = value;
    else made.setAttribute(key, value === true ? '' : value);
  }
  put(made, ...children);
  return made;
}

function put(into, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false || child === '') continue;
    into.append(child);
  }
}

/**
 * Puts new children in place of the old ones. Whoever was at one of them with the keyboard is at the
 * same one again, and what was unfolded stays so.
 */
export function fill(into, ...children) {
  const made = document.createDocumentFragment();
  put(made, ...children);
  const focused = into.contains(document.activeElement) && document.activeElement;
  const opened = Array.from(into.querySelectorAll('details'), ({ open }) => open);
  into.replaceChildren(made);
  into.querySelectorAll('details').forEach((details, index) => {
    if (opened[index]) details.open = true;
  });
  if (!focused || focused === into) return;
  const same = [...into.querySelectorAll(focused.localName)].find((one) => nameOf(one) === nameOf(focused));
  same?.focus({ preventScroll: true });
}

function nameOf(one) {
  return one.getAttribute('href') ?? one.getAttribute('name') ?? one.getAttribute('aria-label') ?? one.textContent;
}

/** A part of a drawing. */
export function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  put(made, ...children);
  return made;
}

/** A link within the console, or to another page of this server. */
export function link(href, ...text) {
  return el('a', { href }, ...text);
}

/** A link to what an id names, shown short; the whole id is in the title. */
export function idLink(href, id) {
  return el('a', { href, class: 'id', title: id }, short(id));
}

/** How something stands, in words and in its tone. */
export function badge(status) {
  return status ? el('span', { class: `badge ${tone(status)}` }, plain(status)) : null;
}

/** A moment: local, with UTC in the title. Today's without its date. */
export function moment(at) {
  if (!at) return null;
  const date = new Date(at);
  const isToday = date.toDateString() === new Date(clock.now()).toDateString();
  const time = { hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3 };
  const form = isToday ? time : { ...time, fractionalSecondDigits: undefined, dateStyle: undefined, year: 'numeric', month: 'short', day: 'numeric' };
  return el('time', { datetime: at, title: `${at} (UTC)` }, date.toLocaleString(undefined, form));
}

/** How long until a moment, or since it; kept right while it is shown. */
export function countdown(at) {
  if (!at) return null;
  return el('time', { datetime: at, title: `${at} (UTC)`, 'data-distance': at }, distance(at, clock.now()));
}

/** How long until something has to have ended; it stands out once that is past. */
export function deadline(at) {
  const shown = countdown(at);
  shown?.setAttribute('data-deadline', '');
  if (shown) mark(shown, clock.now());
  return shown;
}

function mark(shown, now) {
  if ('deadline' in shown.dataset) shown.classList.toggle('past', Date.parse(shown.dataset.distance) < now);
}

/** How long something took, or has been taking. */
export function span(from, to) {
  if (!from) return null;
  if (to) return el('span', { class: 'short', title: `${from} to ${to} (UTC)` }, duration(Date.parse(to) - Date.parse(from)));
  return countdown(from);
}

/** Keeps what is relative to now right, once a second. */
export function tick() {
  const now = clock.now();
  for (const shown of document.querySelectorAll('[data-distance]')) {
    const text = distance(shown.dataset.distance, now);
    if (shown.textContent !== text) shown.textContent = text;
    mark(shown, now);
  }
}

/** Money, with its sign and currency. */
export function amount(value) {
  return value ? el('span', { class: 'amount' }, money(value)) : null;
}

/** Facts about one thing, those that are there. */
export function facts(...pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== '');
  return el('dl', { class: 'facts' }, shown.map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, value))));
}

/**
 * A table. Columns are `[heading, row => cell, class]`; on a narrow screen each row is a card with
 * the headings beside its values.
 */
export function table(label, columns, rows, empty = 'None.') {
  if (rows.length === 0) return el('p', { class: 'empty' }, empty);
  const head = columns.map(([heading, , kind]) => el('th', { scope: 'col', class: kind }, heading));
  const cell = (row) => ([heading, of, kind]) => el('td', { 'data-label': heading, class: kind }, of(row));
  const body = rows.map((row) => el('tr', {}, columns.map(cell(row))));
  return el(
    'table',
    { 'aria-label': label },
    el('thead', {}, el('tr', {}, head)),
    el('tbody', {}, body),
  );
}

/** A section with its heading. */
export function section(heading, ...children) {
  return el('section', { 'aria-label': heading }, el('h2', {}, heading), ...children);
}

/** Parts of a saga, one after the other. */
export function parts(list, none) {
  if (!list?.length) return el('p', { class: 'empty' }, none);
  return el('ol', { class: 'parts' }, list.map((one) => el('li', {}, part(one))));
}

/** What went wrong, for a person: a problem of the server, or that there is no answer. */
export function trouble(error) {
  const errors = error.problem?.errors ?? [];
  const code = error.problem?.code;
  return el(
    'div',
    { class: 'trouble', role: 'alert' },
    el('p', {}, error.message, code && [' ', el('a', { href: `/errors/${code}` }, code)]),
    errors.length > 0 && el('ul', {}, errors.map(({ pointer, detail }) => el('li', {}, `${pointer}: ${detail}`))),
  );
}

/** A labelled choice among values, of which the first may be all of them. */
export function select(name, label, choices, value) {
  const options = choices.map(([key, text]) => el('option', { value: key, selected: key === (value ?? '') }, text));
  return el('label', {}, el('span', {}, label), el('select', { name }, options));
}

/** A labelled line to type into. */
export function input(name, label, value, more = {}) {
  return el('label', {}, el('span', {}, label), el('input', { name, value: value ?? '', autocomplete: 'off', spellcheck: 'false', ...more }));
}
