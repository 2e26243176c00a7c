/**
 * A front and the brokers around it, of which nothing is real but the front: brokers answer what a test says, and their
 * network does what it says. Routes are those of the brokers that are listed.
 */
import { EventEmitter } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { BrokerClients } from '../../../api/client/brokerClient';
import { Front } from '../../../api/front/front';
import type { Here } from '../../../api/front/localPeer';
import { PeerAnswer, type PeerRequest } from '../../../api/front/peer';
import { Rounds } from '../../../api/front/rounds';
import { Sending } from '../../../api/front/sending';
import { Call, type Answer, type Handlers, type OperationId, type Request } from '../../../api/operation';
import { problemOf, STATUS } from '../../../api/problem';
import { delay } from '../../../src/base/clock';
import { GantryError, type Code } from '../../../src/base/errors';
import { Avoidance, backoffSteps } from '../../../src/cluster/avoidance';
import { Fleet } from '../../../src/cluster/fleet';
import type { NameserverPeer } from '../../../src/cluster/nameserverPeer';
import { Routes } from '../../../src/cluster/routes';
import { OPTIONS } from '../../../src/config/option';
import type { ClusterView, Partition, TopicRoute } from '../../../src/nameserver/route';
import { seededChance } from '../../support/broker';
import { ManualClock } from '../../support/clock';
import { contract } from '../../support/node';

/** What a broker was asked. */
export interface Asked {
  readonly broker: string;
  readonly operation: string;
  readonly request: PeerRequest<'sendMessages'>;
}

/**
 * UP answers; REFUSING has no open port; BLACK lets a connection time out; HUNG takes the request and says nothing;
 * STALLED does so, but says that it is alive; LOSING does what is asked, but the answer is lost.
 */
type Network = 'UP' | 'REFUSING' | 'BLACK' | 'HUNG' | 'STALLED' | 'LOSING';

/** A connection that nobody takes up fails after this time. */
const CONNECT_MS = 2000;

export class FakeBroker {
  readonly name: string;
  /** The first 8 bytes of its ids. */
  readonly tag: string;
  network: Network = 'UP';
  /** Before it answers. */
  latencyMs = 0;
  /** The NameServers know of it. */
  listed = true;
  permission: 'RW' | 'R' = 'RW';
  /** What it answers; by default that it stored what it was sent. */
  answer: (asked: Asked) => PeerAnswer | Promise<PeerAnswer> = storedBy;

  constructor(name: string, port: number) {
    this.name = name;
    this.tag = `10.0.0.1:${port}`;
  }

  /** An id of this broker: transaction, or offsetMessageId. */
  idOf(position: number): string {
    const port = Number(this.tag.split(':')[1]);
    return `0A000001${hex(port, 8)}${hex(position, 16)}`;
  }
}

const hex = (value: number, digits: number): string => value.toString(16).toUpperCase().padStart(digits, '0');

export interface BenchSpec {
  readonly brokers?: readonly string[];
  /** Queues of each topic on each broker; `orders` has two if absent. */
  readonly topics?: Readonly<Record<string, number>>;
  readonly seed?: number;
  readonly here?: Here;
  /** Another front of the same cluster. */
  readonly beside?: FrontBench;
}

export class FrontBench {
  readonly clock: ManualClock;
  readonly brokers: Map<string, FakeBroker>;
  /** The list of partitions of each topic. */
  readonly partitions: Map<string, Partition[]>;
  readonly queues: Readonly<Record<string, number>>;
  readonly asked: Asked[] = [];
  readonly fleet: Fleet;
  readonly front: Front;
  readonly avoidance: Avoidance;
  readonly sending: Sending;
  readonly rounds: Rounds;

  constructor({ brokers = ['a', 'b', 'c'], topics = { orders: 2 }, seed = 1, here, beside }: BenchSpec = {}) {
    this.clock = beside?.clock ?? new ManualClock();
    this.queues = beside?.queues ?? topics;
    this.brokers = beside?.brokers ?? new Map(brokers.map((name, i) => [name, new FakeBroker(name, 1000 + i)]));
    this.partitions = beside?.partitions ?? new Map(Object.keys(topics).map((name) => [name, this.#spread(name)]));
    const { clock } = this;
    const chance = seededChance(seed);
    const routes = new Routes({ clock, nameservers: [this.#nameserver()] });
    this.fleet = new Fleet({ clock, routes });
    this.front = new Front({
      ...{ clock, chance, contract, fleet: this.fleet, clients: this.#clients(), here },
      nameservers: () => [],
    });
    this.avoidance = new Avoidance({ clock, steps: backoffSteps(OPTIONS.sendBackoff.default) });
    this.sending = new Sending({ front: this.front, avoidance: this.avoidance });
    this.rounds = new Rounds(this.front);
  }

  broker(name: string): FakeBroker {
    return this.brokers.get(name)!;
  }

  /** Names of the brokers that were asked, in order. */
  get askedBrokers(): string[] {
    return this.asked.map(({ broker }) => broker);
  }

  /** A client's call; `abort` ends it. */
  call<Op extends OperationId>(
    id: Op,
    parts: Partial<Request<Op>> & { contentType?: string } = {},
    signal?: AbortSignal,
  ): Call<Op> {
    const type = parts.contentType ?? 'application/json';
    const req = { headers: { 'content-type': type }, url: '/v1/asked', socket: {} } as unknown as IncomingMessage;
    const res = new EventEmitter() as unknown as ServerResponse;
    const request = { path: {}, query: {}, headers: {}, body: undefined, bodyBytes: Buffer.alloc(0), ...parts };
    const whole = request as unknown as Request<Op>;
    const derived = signal ? { signal, contentType: type } : undefined;
    return new Call<Op>(contract.operation(id), whole, 'req-1', req, res, derived);
  }

  /** What one of these handlers answers to a call, however long it takes. */
  through(table: Handlers, id: OperationId, parts: object): Promise<{ result: Answer; ms: number }> {
    const handle = table[id] as unknown as (call: Call<OperationId>) => Promise<Answer>;
    return this.timed(Promise.resolve(handle(this.call(id, parts))));
  }

  /** Lets everything happen that needs no time. */
  async settle(): Promise<void> {
    for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
  }

  /** The result, however much time it takes; answers how much that was, too. */
  async timed<T>(work: Promise<T>): Promise<{ result: T; ms: number }> {
    const started = this.clock.monotonic();
    let done = false;
    const end = () => void (done = true);
    work.then(end, end);
    for (await this.settle(); !done; await this.settle()) await this.clock.advance(50);
    return { result: await work, ms: this.clock.monotonic() - started };
  }

  #spread(topic: string): Partition[] {
    const ids = Array.from({ length: this.queues[topic]! }, (_, queueId) => queueId);
    return [...this.brokers.keys()].flatMap((broker) => ids.map((queueId) => ({ broker, queueId })));
  }

  #nameserver(): NameserverPeer {
    const peer: Partial<NameserverPeer> = {
      address: 'http://ns',
      route: (topic) => this.#route(topic),
      clusterView: () => Promise.resolve(this.#view()),
    };
    return peer as NameserverPeer;
  }

  async #route(topic: string): Promise<TopicRoute> {
    await Promise.resolve();
    const partitions = this.partitions.get(topic);
    const live = [...this.brokers.values()].filter(
      ({ name, listed }) => listed && partitions?.some(({ broker }) => broker === name),
    );
    if (!partitions || live.length === 0) throw new GantryError('TOPIC_NOT_FOUND', `no ${topic}`);
    const count = this.queues[topic]!;
    return {
      ...{ topic, id: 'a1', version: 1, partitions },
      brokers: live.map(({ name, tag }) => ({
        ...{ cluster: 'DefaultCluster', broker: name, epoch: 1, messageIdTag: tag },
        addresses: { '0': `${name}:1` },
      })),
      queues: live.map(({ name, permission }) => ({
        ...{ broker: name, readQueues: count, writeQueues: count, permission },
      })),
    };
  }

  #view(): ClusterView {
    const live = [...this.brokers.values()].filter(({ listed }) => listed);
    const brokers = live.map(({ name, tag }) => ({
      ...{ broker: name, messageIdTag: tag, writePermission: true },
      members: [{ brokerId: 1, address: `${name}:1`, role: 'MASTER' as const, epoch: 1, lastHeartbeatTimestamp: 1 }],
    }));
    return { started: true, clusters: [{ cluster: 'DefaultCluster', brokers }] };
  }

  #clients(): BrokerClients {
    const call = (address: string, operation: string, request: unknown, { signal }: { signal: AbortSignal }) => {
      const broker = address.split(':')[0]!;
      const asked = { broker, operation, request } as Asked;
      if (operation !== 'livez') this.asked.push(asked);
      return this.#through(this.broker(broker), asked, signal);
    };
    return { call } as unknown as BrokerClients;
  }

  async #through(broker: FakeBroker, asked: Asked, signal: AbortSignal): Promise<PeerAnswer> {
    if (broker.network === 'BLACK') await delay(this.clock, CONNECT_MS, signal);
    if (broker.network === 'REFUSING' || broker.network === 'BLACK')
      throw new GantryError('SERVICE_NOT_AVAILABLE', `${broker.name}:1 cannot be reached`, { retryAfterMs: 1000 });
    if (broker.network === 'HUNG') return ended(signal);
    if ((asked.operation as OperationId) === 'livez') return answered(200, {});
    if (broker.network === 'STALLED') return ended(signal);
    const answer = await broker.answer(asked);
    if (broker.network === 'LOSING') {
      const keyed = asked.request.headers?.['Idempotency-Key'] !== undefined;
      throw new GantryError('OUTCOME_UNKNOWN', 'no answer', { retryable: keyed });
    }
    if (broker.latencyMs > 0) await delay(this.clock, broker.latencyMs, signal);
    return answer;
  }
}

const ended = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  });

/** An answer with a body. */
export const answered = (status: number, body: unknown, headers: Record<string, string> = {}): PeerAnswer =>
  new PeerAnswer(status, { 'content-type': 'application/json', ...headers }, JSON.stringify(body));

/** A refusal. */
export function refused(code: Code, detail = 'no', more: Record<string, unknown> = {}): PeerAnswer {
  const problem = { ...problemOf(new GantryError(code, detail), 'req-1', '/v1/asked'), ...more };
  return new PeerAnswer(STATUS[code], { 'content-type': 'application/problem+json' }, JSON.stringify(problem));
}

/** Bodies of the messages of a send. */
export function bodiesOf({ request }: Asked): string[] {
  const text = request.bytes!.toString('utf8');
  if (request.contentType !== 'application/json') return [text];
  const value = JSON.parse(text) as { messages?: { body: string }[]; body?: string };
  return (value.messages ?? [value as { body: string }]).map(({ body }) => body);
}

/** Each message is stored; its id is its body. */
export function storedBy(asked: Asked): PeerAnswer {
  const results = bodiesOf(asked).map((body) => ({ status: 'SEND_OK', messageId: body, broker: asked.broker }));
  return answered(200, { results });
}

/** The body of an answer, whichever way it is given. */
export function bodyOf<T = Record<string, unknown>>({ body, json, text }: Answer): T {
  if (body !== undefined) return body as T;
  return JSON.parse((typeof json === 'function' ? json() : json) ?? text ?? 'null') as T;
}

/** The failure of a call that must fail. */
export const failureOf = (work: Promise<unknown>): Promise<GantryError> =>
  work.then(
    (answer) => {
      throw new Error(`it did not fail: ${JSON.stringify(answer)}`);
    },
    (error: GantryError) => error,
  );
