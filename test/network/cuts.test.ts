/**
 * Brokers, NameServers and fronts on a network of their own, whose connections break and come back at random, in one
 * direction or both, and who crash now and then, while clients go on: no message that was acknowledged is lost, and no
 * queue is consumed by two.
 * A seed repeats a run: `CUTS_SEED=123 npx jest cuts`; `GANTRY_RANDOM_MS=600000` lengthens it to ten minutes.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Agent, request } from 'undici';
import { seededChance } from '../support/broker';
import { Network } from '../support/network';
import { eventually, patience } from '../support/patience';

const MAIN = resolve(__dirname, '../../dist/src/main.js');
const SEED = Number(process.env['CUTS_SEED'] ?? Date.now() % 1_000_000);
const RUN_MS = Number(process.env['GANTRY_RANDOM_MS'] ?? 15_000);
/** Longer than all cuts together last for one pair: who is cut off for a while stays a member. */
const LEASE_MS = 120_000;
const SECRET = 'a-secret-of-this-test-alone';
const PARTS = ['ns1', 'ns2', 'a', 'b', 'gw'] as const;
const FRONTS = ['a', 'b', 'gw'] as const;
const impossible = Network.impossible();

type Json = ReturnType<typeof JSON.parse>;

class Cluster {
  readonly network = new Network();
  readonly #children = new Map<string, { child: ChildProcess; exited: Promise<void> }>();
  readonly #restarts = new Map<string, () => void>();
  readonly #agent = new Agent({ connections: 64 });
  readonly #addresses = new Map<string, string>();
  #folder = '';
  #log = '';

  async start(): Promise<void> {
    this.#folder = await mkdtemp(join(tmpdir(), 'gantry-network-'));
    for (const part of PARTS) this.#addresses.set(part, this.network.add(part));
    const nameservers = ['ns1', 'ns2'].map((name) => `http://${this.#addresses.get(name)}:9876`).join(',');
    for (const name of ['ns1', 'ns2'])
      this.#run(name, 'nameserver', '--broker-expiry-ms', '4000', '--nameserver-starting-ms', '2000');
    for (const name of ['a', 'b'])
      this.#run(
        name,
        'broker',
        '--name',
        name,
        '--data',
        join(this.#folder, name),
        '--nameservers',
        nameservers,
        '--heartbeat-ms',
        '1000',
      );
    this.#run('gw', 'gateway', '--nameservers', nameservers);
    const ready = FRONTS.map(async (front) => {
      let last: unknown;
      const isReady = async () => (last = await this.ask(front, 'GET', '/readyz')) && (last as Json).status === 200;
      await eventually(isReady).catch((error: unknown) => {
        const { exitCode, signalCode } = this.#children.get(front)!.child;
        const facts = JSON.stringify({ last, exitCode, signalCode });
        throw new Error(`${front} is not ready: ${facts}\n${this.#log}`, { cause: error });
      });
    });
    await Promise.all(ready);
  }

  #run(part: string, role: string, ...flags: string[]): void {
    const [command, ...args] = this.network.command(
      ...([part, process.execPath, MAIN, role, '--host', this.#addresses.get(part)!, '--drain-ms', '0', ...flags] as [
        string,
        ...string[],
      ]),
    );
    const { PATH = '' } = process.env;
    const env = { PATH, GANTRY_CLUSTER_SECRET: SECRET, GANTRY_LOG_LEVEL: 'error' };
    const start = () => this.#start(part, command!, args, env);
    this.#restarts.set(part, start);
    start();
  }

  #start(part: string, command: string, args: readonly string[], env: NodeJS.ProcessEnv): void {
    const child = spawn(command, args, { env, stdio: ['ignore', 'ignore', 'pipe'] });
    child.stderr.setEncoding('utf8').on('data', (text: string) => (this.#log += `${part}: ${text}`));
    this.#children.set(part, { child, exited: new Promise((done) => child.once('exit', () => done())) });
  }

  /** What the processes logged as errors. */
  get log(): string {
    return this.#log;
  }

  /** One call; a time-out or a broken connection is status 0: nobody knows. */
  async ask(
    front: string,
    method: 'GET' | 'PUT' | 'POST' | 'DELETE',
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<{ status: number; body: Json }> {
    const port = front.startsWith('ns') ? 9876 : 8080;
    try {
      const answer = await request(`http://${this.#addresses.get(front)}:${port}${path}`, {
        method,
        dispatcher: this.#agent,
        signal: AbortSignal.timeout(15_000),
        headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const text = await answer.body.text();
      return { status: answer.statusCode, body: text === '' ? undefined : JSON.parse(text) };
    } catch {
      return { status: 0, body: undefined };
    }
  }

  /** A crash, and the same process again with what it had on disk. */
  async crash(part: string): Promise<void> {
    await this.#kill(part);
    this.#restarts.get(part)!();
  }

  async #kill(part: string): Promise<void> {
    const { child, exited } = this.#children.get(part)!;
    child.kill('SIGKILL');
    await exited;
  }

  async stop(): Promise<void> {
    for (const part of this.#children.keys()) await this.#kill(part);
    await this.#agent.destroy();
    this.network.remove();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

class Run {
  readonly #cluster: Cluster;
  readonly #below: (bound: number) => number;
  readonly acknowledged = new Set<string>();
  readonly consumed = new Set<string>();
  readonly leased = new Set<string>();
  /** Who was handed which message, by its place. */
  readonly #handed = new Map<string, string>();
  readonly problems: string[] = [];
  readonly answers = new Map<string, number>();
  cuts = 0;
  crashes = 0;
  #stopping = false;
  #sending = true;

  constructor(cluster: Cluster, seed: number) {
    this.#cluster = cluster;
    const chance = seededChance(seed);
    this.#below = (bound) => chance.below(bound);
  }

  #front(): string {
    return FRONTS[this.#below(FRONTS.length)]!;
  }

  /** Sends one message after another, with a key or without, and with one again until it is known. */
  async send(name: string): Promise<void> {
    for (let i = 0; this.#sending; i++) {
      const value = `${name}-${i}`;
      const keyed = i % 2 === 0;
      const headers: Record<string, string> = keyed ? { 'Idempotency-Key': value } : {};
      for (;;) {
        const { status } = await this.#ask(
          'send',
          this.#front(),
          'POST',
          '/v1/topics/orders/messages',
          { messages: [{ body: value }] },
          headers,
        );
        if (status === 200) this.acknowledged.add(value);
        if (status === 200 || !keyed || !this.#sending) break;
        await pause(50);
      }
    }
  }

  /** A member that joins and polls, each through another front, and commits with the next poll. */
  async consume(name: string): Promise<void> {
    let cursor = '';
    while (!this.#stopping) {
      const place = `/v1/groups/billing/consumers/${name}`;
      await this.#ask('join', this.#front(), 'PUT', place, { topic: 'orders', leaseMs: LEASE_MS });
      const path = `${place}/messages?waitMs=500&max=32&autoCommit=true&cursor=${cursor}`;
      const { status, body } = await this.#ask('poll', this.#front(), 'GET', path);
      if (status !== 200) {
        await pause(50);
        continue;
      }
      cursor = body.cursor as string;
      for (const message of body.messages as Json[]) this.#hand(name, message);
    }
  }

  #hand(consumer: string, { body, topic, broker, queueId, queueOffset }: Json): void {
    this.consumed.add(body as string);
    const place = `${topic}/${broker}/${queueId}/${queueOffset}`;
    const before = this.#handed.get(place);
    if (before !== undefined && before !== consumer)
      this.problems.push(`${place} went to ${before} and to ${consumer}`);
    this.#handed.set(place, consumer);
  }

  /** Takes messages under leases and acknowledges each through another front. */
  async work(): Promise<void> {
    while (!this.#stopping) {
      const { status, body } = await this.#ask('receive', this.#front(), 'POST', '/v1/groups/mail/receipts', {
        max: 16,
        waitMs: 500,
        invisibleMs: 3000,
      });
      if (status !== 200) {
        await pause(50);
        continue;
      }
      const messages = body.messages as Json[];
      for (const message of messages) this.leased.add(message.body as string);
      const receiptHandles = messages.map((message) => message.receiptHandle as string);
      if (receiptHandles.length > 0)
        await this.#ask('ack', this.#front(), 'POST', '/v1/groups/mail/acks', { receiptHandles });
    }
  }

  /** Breaks a connection for a while, now in one direction, now in both; now and then a part crashes and comes back. */
  async cut(): Promise<void> {
    while (this.#sending) {
      const from = PARTS[this.#below(PARTS.length)]!;
      const to = PARTS[this.#below(PARTS.length)]!;
      if (from === to) continue;
      const both = this.#below(2) === 0;
      if (this.#below(5) === 0) {
        this.crashes++;
        await this.#cluster.crash(from);
      }
      this.#cluster.network.cut(from, to);
      if (both) this.#cluster.network.cut(to, from);
      this.cuts++;
      await pause(500 + this.#below(4000));
      this.#cluster.network.heal(from, to);
      if (both) this.#cluster.network.heal(to, from);
      await pause(this.#below(500));
    }
  }

  async #ask(what: string, ...args: Parameters<Cluster['ask']>): ReturnType<Cluster['ask']> {
    const answer = await this.#cluster.ask(...args);
    const kind = `${what} ${answer.status}${answer.status >= 400 ? ` ${answer.body?.code}` : ''}`;
    this.answers.set(kind, (this.answers.get(kind) ?? 0) + 1);
    if (answer.status === 500) this.problems.push(`${what}: 500 ${JSON.stringify(answer.body)}`);
    return answer;
  }

  stopSending(): void {
    this.#sending = false;
  }

  stop(): void {
    this.#stopping = true;
  }

  /** What was acknowledged and has not come, in either style. */
  lost(): string[] {
    return [...this.acknowledged].filter((value) => !this.consumed.has(value) || !this.leased.has(value));
  }
}

const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

describe('a network that breaks', () => {
  const scenario = impossible === undefined ? test : test.skip;
  if (impossible !== undefined) process.stdout.write(`cuts.test.ts is skipped: ${impossible}\n`);

  scenario(
    `no acknowledged message is lost, no queue is consumed by two (seed ${SEED})`,
    async () => {
      const cluster = new Cluster();
      try {
        await cluster.start();
        const run = new Run(cluster, SEED);
        // The NameServers have just started: for a while nobody can tell that there is no such topic.
        const create = () => cluster.ask('gw', 'POST', '/v1/topics', { name: 'orders', writeQueues: 4 });
        await eventually(async () => (await create()).status === 201);
        await cluster.ask('a', 'PUT', '/v1/groups/mail', { topic: 'orders' });
        const consumers = ['ann', 'bob', 'cid'];
        // All of them are members before anything breaks: from then on no queue has a reason to move.
        for (const name of consumers)
          await cluster.ask('b', 'PUT', `/v1/groups/billing/consumers/${name}`, { topic: 'orders', leaseMs: LEASE_MS });
        const consuming = [...consumers.map((name) => run.consume(name)), run.work(), run.work()];
        const sending = [...['s1', 's2', 's3'].map((name) => run.send(name)), run.cut()];
        await pause(RUN_MS);
        run.stopSending();
        await Promise.all(sending);
        const settled = eventually(() => Promise.resolve(run.lost().length === 0)).catch(() => undefined);
        await settled;
        run.stop();
        await Promise.all(consuming);
        const counts = JSON.stringify(Object.fromEntries([...run.answers].sort()));
        process.stdout.write(
          `cuts: seed ${SEED}, ${run.cuts} cuts, ${run.crashes} crashes, ${run.acknowledged.size} acknowledged, ${counts}\n`,
        );
        expect({ lost: run.lost(), problems: run.problems, log: cluster.log }).toEqual({
          lost: [],
          problems: [],
          log: '',
        });
        expect(run.acknowledged.size).toBeGreaterThan(10);
        expect(run.cuts).toBeGreaterThan(0);
      } finally {
        await cluster.stop();
      }
    },
    RUN_MS + patience(180_000),
  );
});
