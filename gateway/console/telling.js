// Why something stands as it does, in the server's own words.

import { countdown, el, moment } from './dom.js';

/** The story, what is awaited, and until when. */
export function tell(why) {
  const awaits = (why.awaits ?? []).map(({ what, until, then }) =>
    el('li', {}, `Waits for ${what}`, until && [', ', countdown(until)], then && el('span', { class: 'then' }, `Then ${then}`)),
  );
  const story = (why.lines ?? []).map(({ at, text }) => el('li', {}, moment(at), el('span', {}, text)));
  return [
    el('ul', { class: 'now' }, (why.now ?? []).map((line) => el('li', {}, line)), awaits),
    el('details', {}, el('summary', {}, `What happened, in ${story.length} lines`), el('ol', { class: 'story' }, story)),
  ];
}
