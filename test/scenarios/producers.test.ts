/**
 * The two producers of the README as they stand there, one that asks what is to be decided and one that is called: with
 * either, what its sender never decided is committed or rolled back as it ought to be, though one copy is killed.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { http, type Http } from '../support/http';
import { contract, Standalone } from '../support/node';
import { blockUnder, killTree, missingOf, until } from '../support/readme';

const TRANSFERS = 30;
const COPIES = 3;
const numbered = (from: (i: number) => boolean) =>
  Array.from({ length: TRANSFERS }, (_, i) => i).flatMap((i) => (from(i) ? `transfer ${i}` : []));

let node: Standalone;
let client: Http;
let folder: string;
const children: ChildProcess[] = [];

beforeEach(async () => {
  node = await Standalone.start({ 'webhook-networks': 'any' });
  client = http(node.url, contract);
  node.closeFirst(() => client.close());
  folder = mkdtempSync(join(tmpdir(), 'gantry-producers-'));
  // Every third one was refused; the first time nobody knows about transfer 1.
  const outcome = `#!/bin/sh
printf '%s\\n' "$1" >> '${folder}/asked'
printf %s "$1" | jq -r 'if (.message.body == "transfer 1" and .checks == 1) then "UNKNOWN"
  elif ((.message.body | split(" ")[1] | tonumber) % 3 == 0) then "ROLLBACK" else "COMMIT" end'
`;
  writeFileSync(join(folder, 'outcome'), outcome);
  chmodSync(join(folder, 'outcome'), 0o755);
  writeFileSync(join(folder, 'asked'), '');
});
afterEach(async () => {
  for (const child of children.splice(0)) killTree(child);
  await node.stop();
  rmSync(folder, { recursive: true, force: true });
});

function start(command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): void {
  children.push(spawn(command, args, { cwd: folder, env, stdio: 'ignore', detached: true }));
}

const topic = 'transfers';

async function prepareAll(producerGroup: string): Promise<void> {
  await client.call('createTopic', { body: { name: topic, type: 'TRANSACTION', readQueues: 1, writeQueues: 1 } });
  for (let i = 0; i < TRANSFERS; i++) {
    const body = { producerGroup, message: { body: `transfer ${i}` } };
    await client.call('prepareTransaction', { path: { topic }, body });
  }
}

async function decided(): Promise<void> {
  await until(async () => (await client.call('listTransactions')).body.transactions.length === 0);
  const path = { topic, broker: 'broker-a', queueId: 0 };
  const { messages } = (await client.call('readQueue', { path, query: { offset: 0, max: 1000 } })).body;
  expect(messages.map(({ body }) => body).sort()).toEqual(numbered((i) => i % 3 !== 0).sort());
}

const asked = (): number => readFileSync(join(folder, 'asked'), 'utf8').split('\n').length - 1;

const missing = missingOf('curl', 'jq', 'bash');
const run = missing.length === 0 ? test : test.skip;
if (missing.length > 0) console.warn(`skipped: ${missing.join(', ')} is not installed`);

const SOON = { checkAfterMs: 1000, checkIntervalMs: 1000, maxChecks: 1000 };

run(
  'who asks',
  async () => {
    const path = { producerGroup: 'banks' };
    await client.call('putProducerGroup', { path, body: SOON });
    const loop = blockUnder('A producer that is asked, in shell').replace('http://localhost:8080', node.url);
    for (let i = 0; i < COPIES; i++) start('bash', ['-c', loop]);
    await prepareAll(path.producerGroup);
    await until(() => asked() >= TRANSFERS / 3);
    killTree(children.shift()!);
    await decided();
  },
  90_000,
);

run(
  'who is called',
  async () => {
    const path = { producerGroup: 'shops' };
    const port = await freePort();
    const webhook = { url: `http://127.0.0.1:${port}/checks` };
    const set = await client.call('putProducerGroup', { path, body: { ...SOON, webhook } });
    await prepareAll(path.producerGroup);
    writeFileSync(join(folder, 'shop.mjs'), blockUnder('A producer that is called', 'js'));
    const env = { ...process.env, SECRET: set.body.webhook!.secret!, PORT: String(port) };
    start(process.execPath, ['shop.mjs'], env);
    await until(() => asked() >= TRANSFERS / 3);
    killTree(children.shift()!);
    start(process.execPath, ['shop.mjs'], env);
    await decided();
    const forged = { method: 'POST', body: '{}', headers: { 'webhook-signature': 'v1,AAAA' } };
    expect((await fetch(webhook.url, forged)).status).toBe(401);
  },
  90_000,
);

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
