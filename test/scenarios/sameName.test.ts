/** Two brokers of one name: the one that is there serves on, the other one waits, and both say so. */
import { cp } from 'node:fs/promises';
import type { Http } from '../support/http';
import { eventually, Stage, type Program } from './program';

const stage = new Stage();
let nameserver: string;

beforeAll(async () => {
  const expiry = ['--broker-expiry-ms', '5000', '--nameserver-scan-ms', '100', '--nameserver-starting-ms', '0'];
  nameserver = await (await stage.start('nameserver', '--port', '0', ...expiry)).url();
});
afterAll(() => stage.clear());

interface Running {
  readonly program: Program;
  readonly client: Http;
  readonly address: string;
}

async function start(name: string, folder: string): Promise<Running> {
  const own = ['--name', name, '--data', await stage.path(folder), '--nameservers', nameserver];
  const program = await stage.start('broker', '--port', '0', '--heartbeat-ms', '300', '--drain-ms', '0', ...own);
  const url = await program.url();
  return { program, client: stage.client(url), address: new URL(url).host };
}

async function registration({ client }: Running) {
  const reply = await client.call('readyz');
  const { ok, detail } = reply.body.checks.find(({ name }) => name === 'registration')!;
  return { status: reply.status, ok, detail };
}

const addressOf = async (topic: string) =>
  (await stage.client(nameserver).call('getNameserverRoute', { path: { topic } })).body?.brokers[0]?.addresses['0'];

const kill = async ({ program }: Running) => {
  program.kill('SIGKILL');
  await program.exited;
};

test('a newcomer with an empty folder is refused while the other one lives, and taken when that is gone', async () => {
  const old = await start('a', 'old');
  await old.client.call('createTopic', { body: { name: 'orders', writeQueues: 1 } });
  await old.client.call('sendMessages', { path: { topic: 'orders' }, body: { body: 'kept' } });
  const newcomer = await start('a', 'new');

  const refused = await registration(newcomer);
  expect([refused.status, refused.ok]).toEqual([503, false]);
  expect(refused.detail).toContain(`Broker a is registered from ${old.address} with another data folder`);
  expect(newcomer.program.stderr).toContain('another broker lives with the name of this one');
  const send = { path: { topic: 'orders' }, body: { body: 'astray' } };
  expect((await newcomer.client.call('sendMessages', send)).problem.code).toBe('STARTING');

  await eventually(async () => (await registration(old)).detail.includes(`at ${newcomer.address}, wants the name`));
  expect((await registration(old)).status).toBe(200);
  expect(old.program.stderr).toContain('another process wants to register with the name of this broker');
  expect(await addressOf('orders')).toBe(old.address);
  const queue = { path: { topic: 'orders', broker: 'a', queueId: 0 }, query: { offset: 0 } };
  expect((await old.client.call('readQueue', queue)).body.messages).toHaveLength(1);

  await kill(old);
  await eventually(async () => (await registration(newcomer)).status === 200);
  await newcomer.program.stop();
});

test('the same folder serves at once at another address, after a kill and after a stop', async () => {
  let broker = await start('b', 'moved');
  await broker.client.call('createTopic', { body: { name: 'moving' } });
  await kill(broker);
  for (let i = 0; i < 2; i++) {
    broker = await start('b', 'moved');
    expect((await registration(broker)).status).toBe(200);
    expect(await addressOf('moving')).toBe(broker.address);
    await broker.program.stop();
  }
});

test('a copy of a folder does not take the place of the broker that it was copied from', async () => {
  const before = await start('c', 'original');
  await before.client.call('createTopic', { body: { name: 'copied' } });
  await before.program.stop();
  await cp(await stage.path('original'), await stage.path('copy'), { recursive: true });
  const original = await start('c', 'original');
  const copy = await start('c', 'copy');
  await eventually(async () => (await registration(copy)).detail.includes('runs from a copy'));
  await eventually(async () => (await registration(original)).detail.includes(copy.address));
  expect([(await registration(copy)).status, (await registration(original)).status]).toEqual([503, 200]);
  expect(await addressOf('copied')).toBe(original.address);
  await copy.program.stop();
  await original.program.stop();
});
