// As much of a browser as a page of the console needs.

class Node extends EventTarget {
  constructor(name) {
    super();
    this.localName = name;
    this.children = [];
    this.attributes = {};
    this.classList = { toggle: () => {} };
    this.dataset = {};
  }
  append(...children) {
    for (const child of children) this.children.push(...(child.localName === '#parts' ? child.children : [child]));
  }
  replaceChildren(...children) {
    this.children = [];
    this.append(...children);
  }
  setAttribute(name, value) {
    this.attributes[name] = value;
  }
  getAttribute(name) {
    return this.attributes[name] ?? null;
  }
  contains() {
    return false;
  }
  querySelectorAll() {
    return [];
  }
  get textContent() {
    return this.children.map((child) => child.textContent ?? String(child)).join('');
  }
}

class Document extends EventTarget {
  hidden = false;
  activeElement = null;
  createElement(name) {
    return new Node(name);
  }
  createElementNS(_, name) {
    return new Node(name);
  }
  createDocumentFragment() {
    return new Node('#parts');
  }
}

/** The streams that were opened, in order. */
export const streams = [];

class Source extends EventTarget {
  constructor(url) {
    super();
    this.url = url;
    streams.push(this);
  }
  close() {}
}

/** A place for a page, and all that it may call. `answer(path)` gives a body and a position. */
export function browser(answer) {
  streams.length = 0;
  globalThis.document = new Document();
  globalThis.EventSource = Source;
  globalThis.fetch = async (url) => {
    const path = new URL(url, 'http://console').pathname + new URL(url, 'http://console').search;
    const { status = 200, body, position = null } = answer(path);
    return {
      ok: status < 300,
      status,
      text: async () => JSON.stringify(body),
      headers: { get: (name) => (name === 'recourse-position' ? position : null) },
    };
  };
  return new Node('main');
}

/** A visit of a page: what it asked to be done now and then, and what it said. */
export function visit(subject = null) {
  const made = {
    subject,
    query: {},
    signal: new AbortController().signal,
    work: [],
    said: [],
    titled: () => {},
    connected: (state) => made.said.push(state),
    until: () => {},
    every: (_, work) => {
      made.work.push(work);
      return () => {
        made.work = made.work.filter((one) => one !== work);
      };
    },
  };
  return made;
}
