// Every address that the console calls, as the contract names it. A test holds this list
// against the contract, and that no other module has an address of its own.

export const paths = {
  event: '/v1/events',
  order: '/v1/orders/{id}',
  orderWhy: '/v1/orders/{id}/why',
  orders: '/v1/orders',
  payment: '/v1/payments/{id}',
  projections: '/v1/projections',
  rebuild: '/v1/projections/{name}/rebuilds/{id}',
  rebuildDrop: '/v1/projections/{name}/rebuilds/{id}/drop',
  rebuildPromote: '/v1/projections/{name}/rebuilds/{id}/promote',
  rebuildRollback: '/v1/projections/{name}/rebuilds/{id}/rollback',
  rebuilds: '/v1/projections/{name}/rebuilds',
  saga: '/v1/sagas/{id}',
  sagaActions: '/v1/sagas/{id}/actions',
  sagaWatch: '/v1/sagas/{id}/watch',
  sagaWhy: '/v1/sagas/{id}/why',
  sagas: '/v1/sagas',
  sagasWatch: '/v1/sagas/watch',
  storage: '/v1/storage',
  stream: '/v1/streams/{stream}',
};

/** An address with its parts and query filled in; what is empty in the query is left out. */
export function at(path, parts = {}, query = {}) {
  const filled = path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(parts[name]));
  const wanted = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== '');
  const text = new URLSearchParams(wanted).toString();
  return text ? `${filled}?${text}` : filled;
}
