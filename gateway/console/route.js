// What the part of the address after # says: #/sagas/<id>?status=… names a page and what it shows.

/** The page, its subject and its query, of a fragment. */
export function read(fragment) {
  const [path, query = ''] = fragment.replace(/^#?\/?/, '').split('?', 2);
  const [page, ...rest] = path.split('/').map(decoded);
  return { page: page || 'overview', subject: rest.join('/') || null, query: new URLSearchParams(query) };
}

/** The fragment of a page: the other way round. */
export function to(page, subject = null, query = {}) {
  const wanted = Object.entries(query).filter(([, value]) => value);
  const text = new URLSearchParams(wanted).toString();
  const path = [page === 'overview' ? '' : page, subject].filter((part) => part !== null && part !== '');
  return `#/${path.map(encodeURIComponent).join('/')}${text ? `?${text}` : ''}`;
}

/** The page of a stream's aggregate, where there is one. */
export function ofStream(stream) {
  const dash = stream.indexOf('-');
  const [category, id] = [stream.slice(0, dash), stream.slice(dash + 1)];
  const page = { saga: 'sagas', order: 'orders' }[category];
  return page ? to(page, id) : to('streams', stream);
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
