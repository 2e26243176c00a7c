/**
 * A broker is stopped cleanly, again and again, while a gateway sends to it: every answer to a client is true. A
 * message that can be stored elsewhere is; a request for the broker that stops is refused as not stored; no outcome is
 * unknown.
 */
import type { Http } from '../support/http';
import { eventually, Stage, type Program } from './program';

const stage = new Stage();
afterAll(() => stage.clear());

const HEARTBEAT = ['--heartbeat-ms', '500'];

class Cluster {
  readonly #ports = new Map<string, string>();
  readonly brokers = new Map<string, Program>();
  nameservers = '';
  client!: Http;

  async start(): Promise<void> {
    const nameserver = await stage.start('nameserver', '--port', '0', '--nameserver-starting-ms', '0');
    this.nameservers = await nameserver.url();
    await this.startBroker('a');
    await this.startBroker('b');
    const gateway = await stage.start('gateway', '--port', '0', '--nameservers', this.nameservers);
    this.client = stage.client(await gateway.url());
    await eventually(async () => (await this.client.call('readyz')).status === 200);
  }

  async startBroker(name: string, ...flags: string[]): Promise<void> {
    const data = await stage.path(name);
    const port = this.#ports.get(name) ?? '0';
    const program = await stage.start(
      ...['broker', '--name', name, '--port', port, '--data', data, '--nameservers', this.nameservers],
      ...[...HEARTBEAT, '--log-level', 'info', ...flags],
    );
    this.#ports.set(name, new URL(await program.url()).port);
    this.brokers.set(name, program);
  }
}

/** Outcomes that clients saw, by kind of request. */
class Load {
  readonly #client: Http;
  readonly heard = new Map<string, Map<string, number>>();
  readonly stored: string[] = [];
  #running = true;
  #count = 0;

  constructor(client: Http) {
    this.#client = client;
  }

  stop(): void {
    this.#running = false;
  }

  times(what: string, status: string): number {
    return this.heard.get(what)?.get(status) ?? 0;
  }

  async send(): Promise<void> {
    while (this.#running) {
      const body = `m${this.#count++}`;
      const reply = await this.#client.call('sendMessages', { path: { topic: 'orders' }, body: { body } });
      if (this.#hear('send', reply)) this.stored.push(body);
    }
  }

  async sendInOrder(messageGroup: string): Promise<void> {
    while (this.#running) {
      const body = `g${this.#count++}`;
      const reply = await this.#client.call('sendMessages', {
        path: { topic: 'orders' },
        body: { body, messageGroup },
      });
      if (this.#hear('in order', reply)) this.stored.push(body);
    }
  }

  async receive(): Promise<void> {
    const path = { group: 'mail' };
    while (this.#running) {
      const reply = await this.#client.call('receiveMessages', { path, body: { max: 20, waitMs: 100 } });
      if (!this.#hear('receive', reply) || reply.status !== 200 || reply.body.messages.length === 0) continue;
      const receiptHandles = reply.body.messages.map((message) => message.receiptHandle);
      this.#hear('ack', await this.#client.call('ackMessages', { path, body: { receiptHandles } }));
    }
  }

  #hear(what: string, { status, text }: { status: number; text: string }): boolean {
    const codes = [...text.matchAll(/"code":"([A-Z_]+)"/g)].map(([, code]) => code);
    const outcome = status === 200 ? 'OK' : `${status} ${[...new Set(codes)].join()}`;
    const outcomes = this.heard.get(what) ?? new Map<string, number>();
    this.heard.set(what, outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1));
    return status === 200;
  }
}

test('no clean stop leaves a client without a true answer', async () => {
  const cluster = new Cluster();
  await cluster.start();
  const { client } = cluster;
  await client.call('createTopic', { body: { name: 'orders', type: 'MIXED', writeQueues: 4, readQueues: 4 } });
  await client.call('putGroup', { path: { group: 'mail' }, body: { topic: 'orders' } });
  const load = new Load(client);
  const running = [
    ...Array.from({ length: 6 }, () => load.send()),
    ...['x', 'y', 'z', 'u'].map((group) => load.sendInOrder(group)),
    load.receive(),
  ];
  for (const [signal, drainMs] of [
    ['SIGTERM', '0'],
    ['SIGINT', '0'],
    ['SIGTERM', '700'],
    ['SIGINT', '0'],
  ] as const) {
    const before = load.times('send', 'OK');
    await eventually(async () => load.times('send', 'OK') > before + 200);
    expect(await cluster.brokers.get('b')!.stop(signal)).toEqual({ code: 0, signal: null });
    const without = load.times('send', 'OK');
    await eventually(async () => load.times('send', 'OK') > without + 50);
    await cluster.startBroker('b', '--drain-ms', drainMs);
  }
  load.stop();
  await Promise.all(running);
  const heard = Object.fromEntries([...load.heard].map(([what, outcomes]) => [what, [...outcomes.keys()].sort()]));
  expect(heard['send']).toEqual(['OK']);
  expect(heard['receive']).toEqual(['OK']);
  // A request for the broker that is away is refused before anything is done.
  for (const what of ['in order', 'ack'])
    expect([what, heard[what]!.filter((outcome) => outcome !== 'OK' && !/^(503|207)/.test(outcome))]).toEqual([
      what,
      [],
    ]);
  expect(JSON.stringify(heard)).not.toContain('OUTCOME_UNKNOWN');

  const bodies = new Set<string>();
  const { queues } = (await client.call('listQueues', { path: { topic: 'orders' } })).body;
  for (const { broker, queueId, maxOffset } of queues)
    for (let offset = 0; offset < maxOffset;) {
      const path = { topic: 'orders', broker, queueId };
      const page = (await client.call('readQueue', { path, query: { offset, max: 500 } })).body;
      for (const { body } of page.messages) bodies.add(body);
      offset = page.nextOffset;
    }
  expect(load.stored.filter((body) => !bodies.has(body))).toEqual([]);
});
