import assert from 'node:assert/strict';
import { test } from 'node:test';

import { show } from '../overview.js';
import { browser, streams, visit } from './browser.js';

test('sagas are watched from where the first of them were listed, so that none that moves meanwhile is missed', async () => {
  let listings = 0;
  const page = browser((path) => {
    if (path.startsWith('/v1/sagas?')) {
      listings += 1;
      return { body: { items: [] }, position: `${listings}-a` };
    }
    if (path === '/v1/projections') return { body: { items: [] } };
    return { status: 404, body: { title: 'no storage' } };
  });
  await show(page, visit());
  assert.ok(listings > 2);
  assert.deepEqual(streams.map(({ url }) => url), ['/v1/sagas/watch?from=1-a']);
});
