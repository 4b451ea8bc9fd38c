// Values in a person's words. Nothing here touches the page or the network.

/** Sagas that have not ended, those that want somebody first. */
export const OPEN = ['needs_attention', 'parked', 'paused', 'compensating', 'running'];

/** How each status is shown: wants somebody, waits, goes on, went well, is undone. */
const TONES = {
  needs_attention: 'bad',
  parked: 'bad',
  refused: 'bad',
  declined: 'bad',
  down: 'bad',
  failed: 'bad',
  unknown: 'bad',
  refusing: 'bad',
  filling: 'busy',
  ready: 'warn',
  promoted: 'good',
  paused: 'warn',
  overdue: 'warn',
  degraded: 'warn',
  behind: 'warn',
  low: 'warn',
  running: 'busy',
  pending: 'idle',
  requested: 'busy',
  compensating: 'busy',
  undoing: 'busy',
  confirmed: 'busy',
  authorized: 'busy',
  starting: 'busy',
  completed: 'good',
  captured: 'good',
  done: 'good',
  up: 'good',
  ok: 'good',
  applied: 'good',
};

/** The tone of a status; what is undone, left out or not known here is quiet. */
export function tone(status) {
  return TONES[status] ?? 'idle';
}

/** `needs_attention` as people say it. */
export function plain(status) {
  return String(status ?? '').replaceAll('_', ' ');
}

/** An amount in minor units, as the reader's language writes money. */
export function money(amount, language = undefined) {
  if (!amount) return '';
  const form = new Intl.NumberFormat(language, { style: 'currency', currency: amount.currency });
  const digits = form.resolvedOptions().maximumFractionDigits;
  // In whole units and the rest apart: a double would not hold large sums to the cent.
  const minor = BigInt(amount.amount_minor);
  const scale = 10n ** BigInt(digits);
  const sign = minor < 0n ? '-' : '';
  const size = minor < 0n ? -minor : minor;
  const rest = digits ? `.${String(size % scale).padStart(digits, '0')}` : '';
  return form.format(`${sign}${size / scale}${rest}`);
}

/** So many pieces at a price. */
export function times(quantity, price) {
  return { amount_minor: Number(BigInt(quantity) * BigInt(price.amount_minor)), currency: price.currency };
}

/** A duration in ms: `350 ms`, `4.2 s`, `3 min 5 s`, `2 h 10 min`, `3 d`. */
export function duration(ms) {
  const whole = Math.max(0, Math.round(ms));
  if (whole < 1000) return `${whole} ms`;
  const s = Math.floor(whole / 1000);
  if (s < 10) return `${(whole / 1000).toFixed(1)} s`;
  if (s < 60) return `${s} s`;
  const min = Math.floor(s / 60);
  if (min < 60) return `${min} min ${s % 60} s`;
  const h = Math.floor(min / 60);
  return h < 48 ? `${h} h ${min % 60} min` : `${Math.floor(h / 24)} d`;
}

/** How long until a moment, or since it. */
export function distance(at, now) {
  const ms = Date.parse(at) - now;
  return ms >= 0 ? `in ${duration(ms)}` : `${duration(-ms)} ago`;
}

/** Bytes: `512 B`, `1.4 MB`. */
export function bytes(count) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let [size, unit] = [count, 0];
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 || size >= 100 ? Math.round(size) : size.toFixed(1)} ${units[unit]}`;
}

/** The beginning of an id, enough to tell two apart by eye. */
export function short(id) {
  return String(id).slice(0, 8);
}

/** The name of a stream, with the beginning of its id alone where that is a long one. */
export function shortStream(stream) {
  const id = stream.slice(kindOf(stream).length + 1);
  return isId(id) ? stream.slice(0, -id.length) + short(id) : stream;
}

/** A part of a saga: a step, and of one that fans out which item. */
export function part({ step, item }) {
  return item === undefined ? step : `${step} ${item}`;
}

/** What a stream's name is of: `order` of `order-…`. */
export function kindOf(stream) {
  return stream.slice(0, Math.max(0, stream.indexOf('-')));
}

/** Whether a text is a whole id. */
export function isId(text) {
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text);
}
