/** A page whose name was made to lead here (DNS rebinding): it reads and changes nothing, at any part of a cluster. */
import { request } from 'node:http';
import { TestCluster } from '../support/cluster';
import { Standalone } from '../support/node';

interface Answer {
  readonly status: number;
  readonly text: string;
}

function ask(
  url: string,
  method: string,
  path: string,
  headers: Record<string, string>,
  body?: string,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request(new URL(path, url), { method, headers }, (reply) => {
      let text = '';
      reply.setEncoding('utf8').on('data', (part: string) => (text += part));
      reply.on('end', () => resolve({ status: reply.statusCode!, text }));
    });
    asked.on('error', reject).end(body);
  });
}

const EVIL = 'evil.example:8080';
const PAGE = { host: EVIL, origin: `http://${EVIL}`, referer: `http://${EVIL}/`, 'sec-fetch-site': 'same-origin' };

/** Paths of all kinds: operations, documents, the page, what does not exist, both APIs. */
const PATHS = ['/', '/v1', '/v1/topics', '/openapi.json', '/docs/', '/docs/swagger-ui.css', '/metrics', '/nowhere'];

async function refused(url: string, paths: readonly string[]): Promise<void> {
  for (const path of paths)
    for (const headers of [PAGE, { host: EVIL }, { host: EVIL, 'x-forwarded-host': 'localhost' }]) {
      const { status, text } = await ask(url, 'GET', path, headers);
      expect([path, headers, status]).toEqual([path, headers, 421]);
      expect(JSON.parse(text)).toMatchObject(
        /^\/(topics|consumers|brokers)/.test(path) ? { error_code: 421 } : { code: 'MISDIRECTED_REQUEST', status: 421 },
      );
    }
  for (const method of ['OPTIONS', 'PUT', 'DELETE'])
    expect((await ask(url, method, '/v1/topics', { ...PAGE, 'access-control-request-method': 'POST' })).status).toBe(
      421,
    );
  for (const path of ['/livez', '/readyz'])
    expect((await ask(url, 'GET', path, { host: 'pod.example' })).status).toBe(200);
}

test('at a broker and its NameServer', async () => {
  const node = await Standalone.start();
  const nameserver = `http://127.0.0.1:${node.nameserver.port}`;
  await refused(node.url, [...PATHS, '/topics', '/consumers/g', '/brokers']);
  await refused(nameserver, ['/', '/v1', '/v1/nameserver/routes', '/openapi.json', '/docs/', '/metrics', '/nowhere']);
  const json = { ...PAGE, 'content-type': 'application/json' };
  expect((await ask(node.url, 'POST', '/v1/topics', json, '{"name":"made-by-a-page"}')).status).toBe(421);
  const own = { host: new URL(node.url).host, origin: node.url, 'sec-fetch-site': 'same-origin' };
  expect(JSON.parse((await ask(node.url, 'GET', '/v1/topics', own)).text)).toEqual({ topics: [] });
  await node.stop();
});

test('at a gateway', async () => {
  const cluster = await TestCluster.start({ brokers: ['broker-a'], gateways: 1 });
  await refused(cluster.url('gw1'), [...PATHS, '/topics']);
  await cluster.stop();
});

test('but names that it was started with are its own', async () => {
  const node = await Standalone.start({ 'allowed-hosts': 'mq.example,.inside.example' });
  for (const host of ['mq.example', 'a.inside.example:80']) {
    const page = { host, origin: `http://${host}`, 'sec-fetch-site': 'same-origin' };
    expect((await ask(node.url, 'GET', '/v1/topics', page)).status).toBe(200);
    expect((await ask(`http://127.0.0.1:${node.nameserver.port}`, 'GET', '/v1', page)).status).toBe(200);
    const other = { ...page, origin: 'http://evil.example' };
    expect((await ask(node.url, 'GET', '/v1/topics', other)).status).toBe(403);
  }
  await node.stop();
});
