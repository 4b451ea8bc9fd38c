// One order: its lines and money, its payment, its sagas, and what happened when.

import { get } from './api.js';
import { amount, badge, el, facts, fill, idLink, link, moment, section, table, trouble } from './dom.js';
import { paths } from './paths.js';
import { to } from './route.js';
import { tell } from './telling.js';
import { plain, times } from './words.js';

export async function show(page, visit) {
  const id = visit.subject;
  visit.titled(`Order ${id}`);
  const { body: order } = await get(paths.order, { id }, {}, visit);
  const payment = el('div');
  const why = el('div');
  const head = el('div');
  const sagas = el('div');
  const timeline = el('div');
  fill(
    page,
    head,
    section('Lines', lines(order)),
    el('div', { class: 'columns' }, section('Payment', payment), section('Sagas', sagas)),
    section('Why', why),
    section('Timeline', timeline),
  );
  const draw = (shown) => {
    fill(head, heading(shown));
    fill(sagas, sagasOf(shown));
    fill(timeline, timelineOf(shown));
  };
  draw(order);
  const asked = async (place, work) => {
    try {
      fill(place, await work());
    } catch (error) {
      if (error.name !== 'AbortError') fill(place, trouble(error));
    }
  };
  const rest = (shown) =>
    Promise.all([
      asked(payment, async () => {
        if (!shown.payment) return el('p', { class: 'empty' }, 'No payment was begun.');
        return paid((await get(paths.payment, { id: shown.payment.payment_id }, {}, visit)).body);
      }),
      asked(why, async () => tell((await get(paths.orderWhy, { id }, {}, visit)).body)),
    ]);
  await rest(order);
  if (isSettled(order)) return;
  // An order that is under way is looked at again; its saga's page is live.
  let seen = JSON.stringify(order);
  const stop = visit.every(2000, async () => {
    try {
      const { body } = await get(paths.order, { id }, {}, visit);
      visit.connected('live');
      if (JSON.stringify(body) === seen) return;
      seen = JSON.stringify(body);
      draw(body);
      await rest(body);
      if (!isSettled(body)) return;
      stop();
      visit.connected('ended');
    } catch (error) {
      if (error.name !== 'AbortError') visit.connected('lost');
    }
  });
}

/** Whether nothing happens to it by itself any more: its saga has ended, and each of its returns. */
function isSettled({ saga, returns = [] }) {
  const isEnded = ({ status }) => ['withdrawn', 'rejected', 'closed'].includes(status);
  return ['completed', 'compensated'].includes(saga?.status) && returns.every(isEnded);
}

function heading(order) {
  return [
    el('h1', {}, 'Order ', badge(order.status)),
    el('p', { class: 'id whole' }, order.order_id),
    order.reason && el('p', { class: 'note' }, `${plain(order.status)}: ${order.reason.detail} (${order.reason.code})`),
    facts(
      ['Total', amount(order.total)],
      ['Placed', moment(order.placed_at)],
      ['Customer', link(to('orders', null, { customer_id: order.customer_id }), order.customer_id)],
      ['Stream', link(to('streams', `order-${order.order_id}`), 'its events')],
    ),
  ];
}

function lines(order) {
  return table(
    'Lines',
    [
      ['Product', ({ sku }) => link(to('streams', `stock-${sku}`), sku)],
      ['Quantity', ({ quantity }) => String(quantity), 'number'],
      ['Price', ({ unit_price: price }) => amount(price), 'number'],
      ['Sum', ({ quantity, unit_price: price }) => amount(times(quantity, price)), 'number'],
    ],
    order.lines,
  );
}

function paid(payment) {
  return [
    facts(
      ['Status', badge(payment.status)],
      ['Amount', amount(payment.amount)],
      ['Authorized', amount(payment.authorized)],
      ['Captured', amount(payment.captured)],
      ['Voided', amount(payment.voided)],
      ['Refunded', amount(payment.refunded)],
      ['Stream', link(to('streams', `payment-${payment.payment_id}`), 'its events')],
    ),
    table(
      'What the payment provider was asked',
      [
        ['Asked to', ({ operation }) => operation],
        ['Outcome', ({ status }) => badge(status)],
        ['Amount', ({ amount: sum }) => amount(sum), 'number'],
        ['Asked', ({ requested_at: at }) => moment(at)],
        ['Answered', ({ ended_at: at }) => moment(at)],
      ],
      payment.operations ?? [],
      'The provider was not asked yet.',
    ),
  ];
}

function sagasOf(order) {
  const fulfilment = order.saga_id && { id: order.saga_id, what: 'fulfilment', status: order.saga?.status };
  const returns = (order.returns ?? []).map((one) => ({
    id: one.saga_id,
    what: 'return',
    status: one.saga?.status ?? one.status,
    refund: one.refund,
  }));
  return table(
    'Sagas',
    [
      ['Saga', ({ id }) => (id ? idLink(to('sagas', id), id) : '')],
      ['Kind', ({ what }) => what],
      ['Status', ({ status }) => badge(status)],
      ['Refund', ({ refund }) => amount(refund), 'number'],
    ],
    [fulfilment, ...returns].filter(Boolean),
  );
}

function timelineOf(order) {
  return table(
    'Timeline',
    [
      ['At', ({ at }) => moment(at)],
      ['Event', ({ type }) => type],
      ['Position', ({ position }) => position, 'number minor'],
    ],
    order.timeline,
  );
}
