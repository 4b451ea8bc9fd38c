// As much of a browser's EventSource as order.mjs uses, over fetch, for a Node that has none.

const RETRIES = 5;

export class EventSource extends EventTarget {
  readyState = 0;
  #stop = new AbortController();

  constructor(url) {
    super();
    this.#follow(url);
  }

  close() {
    this.readyState = 2;
    this.#stop.abort();
  }

  async #follow(url) {
    let last;
    let wait = 1000;
    for (let failures = 0; failures < RETRIES && this.readyState !== 2; failures += 1) {
      try {
        const headers = { Accept: 'text/event-stream', ...(last && { 'Last-Event-ID': last }) };
        const answer = await fetch(url, { headers, signal: this.#stop.signal });
        if (answer.status !== 200) break;
        this.readyState = 1;
        let message = { event: 'message', data: [] };
        let seen = last;
        for await (const line of lines(answer.body)) {
          const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
          if (name === 'id') seen = value;
          else if (name === 'event') message.event = value;
          else if (name === 'data') message.data.push(value);
          else if (name === 'retry') wait = Number(value);
          else if (line === '') {
            // Only now is the message whole, and its id one to come back with.
            last = seen;
            if (message.data.length > 0) {
              failures = 0;
              const data = message.data.join('\n');
              this.dispatchEvent(Object.assign(new Event(message.event), { data }));
            }
            message = { event: 'message', data: [] };
          }
        }
      } catch {
        if (this.readyState === 2) return;
      }
      if (this.readyState === 2) return;
      this.readyState = 0;
      this.dispatchEvent(new Event('error'));
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
    if (this.readyState === 2) return;
    this.readyState = 2;
    this.dispatchEvent(new Event('error'));
  }
}

async function* lines(body) {
  let rest = '';
  for await (const text of body.pipeThrough(new TextDecoderStream())) {
    const whole = (rest + text).split(/\r?\n/);
    rest = whole.pop();
    yield* whole;
  }
}
