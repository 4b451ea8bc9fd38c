// Requests to the server that this page came from, and what it says when it says no.

import { at } from './paths.js';

/** The server's clock, as far as its answers show it. */
export const clock = {
  offset: 0,
  now() {
    return Date.now() + this.offset;
  },
  see(answer) {
    const offset = Date.parse(answer.headers.get('date')) - Date.now();
    // The header is to the second: less than that says nothing.
    if (!Number.isNaN(offset)) this.offset = Math.abs(offset) < 2000 ? 0 : offset;
  },
};

/** What the server refused, or that it did not answer. */
export class Refused extends Error {
  constructor(status, problem, message) {
    super(message);
    this.status = status;
    this.problem = problem;
  }
}

/**
 * Asks for what is at an address. `position` is where the log must have been considered up to;
 * `signal` ends the wait when nobody wants the answer any more.
 */
export async function get(path, parts, query, { signal, position } = {}) {
  const headers = position ? { 'Recourse-Min-Position': position } : {};
  return send(at(path, parts, query), { headers, signal });
}

/** Sends a command under a key, so that the same may be sent again. */
export async function post(path, parts, body, { key, ifMatch, signal } = {}) {
  const headers = { 'Content-Type': 'application/json', 'Idempotency-Key': key };
  if (ifMatch) headers['If-Match'] = ifMatch;
  return send(at(path, parts), { method: 'POST', headers, body: JSON.stringify(body), signal });
}

async function send(url, options) {
  let answer;
  try {
    answer = await fetch(url, { ...options, cache: 'no-store', credentials: 'same-origin', redirect: 'error' });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Refused(0, null, 'The server does not answer.');
  }
  clock.see(answer);
  const text = await answer.text();
  const body = parsed(text);
  if (!answer.ok) {
    const { title, detail } = body ?? {};
    const said = title ? [title, detail].filter(Boolean).join(': ') : `The server answers ${answer.status}.`;
    throw new Refused(answer.status, body, said);
  }
  const position = answer.headers.get('recourse-position');
  return { body, position, tag: answer.headers.get('etag') };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** A key that nobody else has. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `console-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}
