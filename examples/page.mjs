// Serves order.html, and passes what is below /v1/ on to a server: node page.mjs [URL [PORT]]
//
// A web page may use a server of its own origin only: no page from elsewhere can drive the one on
// your machine. So a site puts both behind one address, as its reverse proxy does, and as this does
// in a few lines. The Host is passed on as it came, so that the server sees page and request agree.

import { readFile } from 'node:fs/promises';
import http from 'node:http';

const server = new URL(process.argv[2] ?? 'http://127.0.0.1:7171');
const port = Number(process.argv[3] ?? 8080);
const files = {
  '/': ['order.html', 'text/html'],
  '/order.mjs': ['order.mjs', 'text/javascript'],
  '/event-source.mjs': ['event-source.mjs', 'text/javascript'],
};

const page = http.createServer(async (request, response) => {
  const file = files[request.url];
  if (file) {
    const [name, type] = file;
    response.setHeader('Content-Type', `${type}; charset=utf-8`);
    response.end(await readFile(new URL(name, import.meta.url)));
    return;
  }
  if (!request.url.startsWith('/v1/')) {
    response.writeHead(404).end();
    return;
  }
  const { hostname, port } = server;
  const { method, url: path, headers } = request;
  const passed = http.request({ hostname, port, method, path, headers }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  passed.on('error', () => (response.headersSent ? response.destroy() : response.writeHead(502).end()));
  // Who goes away is not watched for any more.
  response.on('close', () => passed.destroy());
  request.pipe(passed);
});

page.listen(port, '127.0.0.1', () => {
  console.log(`The page is at http://localhost:${page.address().port}`);
});
