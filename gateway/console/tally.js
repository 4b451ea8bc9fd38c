// What is known of all sagas: those that are open, and how fast they settle.
//
//   listing ─▶ load ─┐
//   watch ───▶ apply ┴▶ counts, attention, recent, rate

import { OPEN } from './words.js';

const MAX_OPEN = 20_000;
const MAX_RECENT = 12;
const MAX_SETTLED_IDS = 2_000;

export class Tally {
  #open = new Map();
  #settledIds = new Set();
  #perSecond = new Map();
  #recent = [];
  #windowMs;
  /** That some status has more than were listed. */
  more = new Set();

  constructor(windowMs = 300_000) {
    this.#windowMs = windowMs;
  }

  /** Takes what a listing has. */
  load(sagas) {
    for (const saga of sagas) this.apply(saga);
  }

  /**
   * Takes a saga as it is now. What is told twice counts once, and what was told of a saga
   * that has ended is passed over.
   */
  apply(saga) {
    const id = saga.saga_id;
    if (this.#settledIds.has(id)) return;
    if (OPEN.includes(saga.status)) {
      if (this.#open.size < MAX_OPEN || this.#open.has(id)) this.#open.set(id, saga);
      else this.more.add(saga.status);
      return;
    }
    this.#open.delete(id);
    this.#settledIds.add(id);
    if (this.#settledIds.size > MAX_SETTLED_IDS) {
      this.#settledIds.delete(this.#settledIds.values().next().value);
    }
    const at = Date.parse(saga.ended_at ?? saga.at);
    if (Number.isNaN(at)) return;
    const second = Math.floor(at / 1000);
    this.#perSecond.set(second, (this.#perSecond.get(second) ?? 0) + 1);
    this.#recent.push({ ...saga, settled: at });
    this.#recent.sort((one, other) => other.settled - one.settled);
    this.#recent.length = Math.min(this.#recent.length, MAX_RECENT);
  }

  /** How many stand how, of those that are open. */
  counts() {
    const counts = Object.fromEntries(OPEN.map((status) => [status, 0]));
    for (const { status } of this.#open.values()) counts[status] += 1;
    return counts;
  }

  /** The open ones, those that want somebody first, then the oldest. */
  attention(limit) {
    const rank = ({ status }) => OPEN.indexOf(status);
    const all = [...this.#open.values()];
    all.sort((one, other) => rank(one) - rank(other) || compare(one.started_at, other.started_at));
    return all.slice(0, limit);
  }

  /** Those that settled last, the newest first. */
  recent() {
    return [...this.#recent];
  }

  /** How many settled in the minute before. */
  settledInMinute(now) {
    return this.#between(now - 60_000, now);
  }

  /** How many settled in each of so many equal parts of the window, the oldest first. */
  bars(now, count) {
    this.#forget(now);
    const width = this.#windowMs / count;
    const from = now - this.#windowMs;
    return Array.from({ length: count }, (_, bar) => this.#between(from + bar * width, from + (bar + 1) * width));
  }

  #between(from, to) {
    let sum = 0;
    for (const [second, count] of this.#perSecond) {
      const at = second * 1000;
      if (at > from - 1000 && at <= to - 1000) sum += count;
    }
    return sum;
  }

  #forget(now) {
    const oldest = Math.floor((now - this.#windowMs) / 1000) - 1;
    for (const second of this.#perSecond.keys()) if (second < oldest) this.#perSecond.delete(second);
  }
}

function compare(one = '', other = '') {
  return one < other ? -1 : Number(one > other);
}
