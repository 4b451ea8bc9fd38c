// Places an order, waits until it has settled, then watches its saga to its end. The same script
// runs in a page (order.html) and in Node 20 or later: node order.mjs [URL]
// Run again it finds the same order, by its Idempotency-Key.

const inNode = typeof process === 'object' && !!process.versions?.node;
const page = inNode ? null : document.querySelector('#transcript');
const url = inNode ? (process.argv[2] ?? 'http://127.0.0.1:7171') : location.origin;
const EventSource = globalThis.EventSource ?? (await import('./event-source.mjs')).EventSource;

function print(...words) {
  if (page) page.textContent += words.join(' ') + '\n';
  else console.log(...words);
}

/** The answer's JSON; a refusal is thrown as the problem that was answered (RFC 9457). */
async function call(method, path, body, headers = {}) {
  const answer = await fetch(url + path, {
    method,
    body: JSON.stringify(body),
    headers: { 'Content-Type': 'application/json', ...headers },
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${text}`);
  return JSON.parse(text);
}

/** Prints each change of a saga until it has ended. An EventSource comes back by itself. */
function watch(saga) {
  return new Promise((resolve, reject) => {
    const source = new EventSource(`${url}/v1/sagas/${saga}/watch?from=start`);
    source.addEventListener('saga', ({ data }) => {
      const { status, steps } = JSON.parse(data);
      const step = steps.filter((step) => step.status !== 'pending').at(-1);
      print('saga    ', status, step.name, step.status);
    });
    source.addEventListener('end', () => {
      source.close();
      resolve();
    });
    source.addEventListener('error', () => {
      // 2 is CLOSED: it does not come back.
      if (source.readyState === 2) reject(new Error(`the saga ${saga} cannot be watched`));
    });
  });
}

async function main() {
  // What is bought has to be there. All of this may be repeated: a PUT is what it says, and a
  // delivery counts once.
  await call('PUT', '/v1/products/example-tea', {
    name: 'Tea',
    price: { amount_minor: 1999, currency: 'EUR' },
    active: true,
  });
  await call('POST', '/v1/stock/example-tea/receipts', {
    quantity: 1000,
    reference: 'example-delivery',
  });

  const order = await call(
    'POST',
    '/v1/orders',
    {
      customer_id: '6f1b2c1e-7f0a-4c52-9b0e-3c1de7b0a001',
      currency: 'EUR',
      lines: [{ sku: 'example-tea', quantity: 2 }],
      payment: { method: 'card', token: 'tok_visa' },
    },
    { 'Idempotency-Key': 'example-javascript', Prefer: 'wait=20' },
  );
  const { amount_minor, currency } = order.total;
  print('order   ', order.order_id, order.status, amount_minor, currency);
  await watch(order.saga_id);
  print('end');
}

try {
  await main();
} catch (error) {
  const cause = error.cause ? ` (${error.cause.message})` : '';
  const refused = `refused  ${error.message}${cause}`;
  if (!inNode) print(refused);
  else {
    console.error(refused);
    process.exitCode = 1;
  }
}
