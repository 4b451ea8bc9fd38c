// What is new, as it happens: a stream of the server that is resumed where it broke off.
//
//   open ─▶ live ─▶ broken off ─▶ waiting, longer each time ─▶ open after the last position
//             └▶ the page is hidden: closed, and resumed when it is seen again
//
// A stream takes one of the few connections that a browser has for a server, so a page has one.

import { at } from './paths.js';

const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 15_000;

export class Live {
  #source = null;
  #timer = null;
  #wait = FIRST_WAIT_MS;
  #last;
  #closed = false;
  #paths;
  #told;
  #seen = () => this.#visible();

  /**
   * Watches from a position on. `told.message(name, data)` is called for each event, in order,
   * `told.reset()` where the log is another one than before, and `told.state('live' | 'lost' |
   * 'ended')` when the connection changes.
   */
  constructor(path, parts, from, told) {
    this.#paths = [path, parts];
    this.#last = from;
    this.#told = told;
    document.addEventListener('visibilitychange', this.#seen);
    this.#open();
  }

  close() {
    this.#closed = true;
    document.removeEventListener('visibilitychange', this.#seen);
    this.#shut();
  }

  #visible() {
    if (document.hidden) this.#shut();
    else if (!this.#source && !this.#closed) this.#open();
  }

  #shut() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  #open() {
    if (document.hidden) return;
    const [path, parts] = this.#paths;
    const source = new EventSource(at(path, parts, { from: this.#last ?? 'end' }));
    this.#source = source;
    const take = (name) => (event) => {
      this.#last = event.lastEventId || this.#last;
      this.#told.message(name, JSON.parse(event.data));
    };
    source.onopen = () => {
      this.#wait = FIRST_WAIT_MS;
      this.#told.state('live');
    };
    source.addEventListener('saga', take('saga'));
    source.addEventListener('message', take('message'));
    source.addEventListener('reset', () => {
      this.close();
      this.#told.reset();
    });
    source.addEventListener('end', () => {
      this.close();
      this.#told.state('ended');
    });
    // The browser itself would come back for ever, or never, by what broke; here it is always us.
    source.onerror = () => {
      this.#shut();
      this.#told.state('lost');
      this.#timer = setTimeout(() => this.#open(), this.#wait);
      this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT_MS);
    };
  }
}
