/**
 * Several brokers in memory and a front that knows of all of them, as if over a network that the test can cut. The topic
 * `orders` has two queues on each; its home is the first.
 */
import { EventEmitter } from 'node:events';
import { Front } from '../../../api/front/front';
import { consumptionFront } from '../../../api/front/consumptionFront';
import { GroupPlaces } from '../../../api/front/groupPlaces';
import { PeerAnswer, type PeerRequest } from '../../../api/front/peer';
import type { BrokerClients } from '../../../api/client/brokerClient';
import { Rounds } from '../../../api/front/rounds';
import { consumerHandlers } from '../../../api/handlers/consumers';
import { deadLetterHandlers } from '../../../api/handlers/deadLetters';
import { groupHandlers } from '../../../api/handlers/groups';
import { leaseHandlers } from '../../../api/handlers/leases';
import { offsetHandlers } from '../../../api/handlers/offsets';
import { readinessHandlers } from '../../../api/handlers/readiness';
import { retryHandlers } from '../../../api/handlers/retries';
import { Call, type Answer, type OperationId, type Request } from '../../../api/operation';
import { GantryError } from '../../../src/base/errors';
import { topicDefinition, type Definition } from '../../../src/broker/definition';
import { Fleet } from '../../../src/cluster/fleet';
import type { Routes } from '../../../src/cluster/routes';
import type { Spread } from '../../../src/cluster/spread';
import { seededChance, setup, turn, type TestBroker } from '../../support/broker';
import { ManualClock } from '../../support/clock';
import { contract } from '../../support/node';

/** The connection under a call. */
class Connection extends EventEmitter {
  destroyed = false;
  writableFinished = false;
  readonly request = { headers: {}, url: '/v1/test', socket: this };

  /** The answer was written to its end, or the other side went away before. */
  close(written: boolean): void {
    this.writableFinished = written;
    this.destroyed = !written;
    this.emit('close');
  }

  call<Op extends OperationId>(id: Op, request: Request<Op>, signal?: AbortSignal): Call<Op> {
    const parts = [contract.operation(id), request, 'req-1', this.request as never, this as never] as const;
    return new Call<Op>(...parts, signal && { signal });
  }
}

/** Asks a broker over the network. */
type Hop = (
  broker: string,
  id: OperationId,
  request: PeerRequest<OperationId>,
  signal: AbortSignal,
) => Promise<PeerAnswer>;

/** Addresses of the brokers are their names. */
const clientsBy = (hop: Hop): BrokerClients => {
  const call = (address: string, id: OperationId, request: PeerRequest<OperationId>, of: { signal: AbortSignal }) =>
    hop(address, id, request, of.signal);
  return { call } as unknown as BrokerClients;
};

/** A call that was made; what it brought, and a way to be gone before. */
export interface Made {
  readonly answer: Promise<Told>;
  /** The answer is not written when it is there. */
  leaveUnread(): void;
  gone(): void;
}

/** The answer as a client reads it. */
export interface Told {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Record<string, never>;
}

const NO_BYTES = Buffer.alloc(0);
const POLL = { max: 32, maxBytes: 1 << 20, min: 1, waitMs: 0, autoCommit: false };

export class Company extends Front {
  readonly brokers: ReadonlyMap<string, TestBroker<ManualClock>>;
  readonly manual: ManualClock;
  /** DOWN: connections are refused. HUNG: nothing is answered. */
  readonly network = new Map<string, 'DOWN' | 'HUNG'>();
  /** What was asked of brokers: `broker-a pollMessages`. */
  asked: string[] = [];
  readonly #hops = new Map<string, Front>();
  readonly #handlers;

  static async of(...names: string[]): Promise<Company> {
    const clock = new ManualClock();
    const brokers = new Map<string, TestBroker<ManualClock>>();
    for (const [i, name] of names.entries())
      brokers.set(name, await setup({ clock, seed: i + 1, options: { name, messageIdTag: `10.0.0.${i + 1}:8080` } }));
    const [home, ...others] = brokers.values();
    const topic = await home!.topic('orders', { readQueues: 2, writeQueues: 2, brokers: names });
    for (const t of others) await t.rooms.definitions.install(topicDefinition(topic, []));
    return new Company(clock, brokers);
  }

  private constructor(clock: ManualClock, brokers: ReadonlyMap<string, TestBroker<ManualClock>>) {
    const live = [...brokers.keys()].map((name) => ({ name, cluster: 'DefaultCluster', address: name, idMark: name }));
    const of = (topic: string) => {
      const records = [...brokers.values()].flatMap((t) => t.state.topicsByName.get(topic)?.record ?? []);
      const [record] = records;
      if (!record) return Promise.reject(new GantryError('TOPIC_NOT_FOUND', `no live broker has a topic ${topic}`));
      const all = [...brokers.keys()].map((broker) => ({ broker }));
      return Promise.resolve({ topic, partitions: record.partitions, brokers: all });
    };
    const routes = { of, brokers: () => Promise.resolve({ complete: true, brokers: live }) } as unknown as Routes;
    const fleet = new Fleet({ clock, routes });
    const shared = {
      clock,
      contract,
      chance: seededChance(1),
      fleet,
      nameservers: () => [],
    };
    const wire: { hop?: Hop } = {};
    const clients = clientsBy((...asked) => wire.hop!(...asked));
    super({ ...shared, clients, here: undefined });
    wire.hop = (...asked) => this.#hop(...asked);
    const rounds = new Rounds(this);
    this.#handlers = consumptionFront(rounds, new GroupPlaces(rounds));
    this.manual = clock;
    this.brokers = brokers;
    const spread = this.#spread();
    for (const [name, { broker }] of brokers) {
      const handlers = {
        ...groupHandlers({ broker, spread }),
        ...consumerHandlers({ broker, spread }),
        ...offsetHandlers({ broker }),
        ...leaseHandlers({ broker }),
        ...retryHandlers({ broker }),
        ...deadLetterHandlers({ broker }),
        ...readinessHandlers({ broker }),
        getTopic: ({ path }: { path: { topic: string } }): Answer => ({
          status: 200,
          body: broker.rooms.topics.get(path.topic),
        }),
      };
      this.#hops.set(name, new Front({ ...shared, clients, here: { name, handlers } }));
    }
  }

  /** What the home decides the others are told, unless they are cut off. */
  #spread(): Spread {
    const install = async (broker: string, definitions: readonly Definition[]) => {
      if (this.network.has(broker)) return { broker, error: new GantryError('SERVICE_NOT_AVAILABLE', 'cut off') };
      for (const definition of definitions) await this.on(broker).rooms.definitions.install(definition);
      return { broker };
    };
    const spread: Partial<Spread> = {
      tell: (brokers, definitions) => Promise.all(brokers.map((broker) => install(broker, definitions))),
      learnGroup: async (group, home) => {
        const known = this.on(home).rooms.definitions.group(group);
        for (const broker of this.brokers.keys()) await install(broker, known);
      },
    };
    return spread as Spread;
  }

  async #hop<Op extends OperationId>(
    broker: string,
    id: Op,
    request: PeerRequest<Op>,
    signal: AbortSignal,
  ): Promise<PeerAnswer> {
    signal.throwIfAborted();
    this.asked.push(`${broker} ${id}`);
    if (this.network.get(broker) === 'DOWN')
      throw new GantryError('SERVICE_NOT_AVAILABLE', `${broker} cannot be reached`, { retryAfterMs: 1000 });
    if (this.network.get(broker) === 'HUNG') return await aborted(signal);
    if (id === 'livez') return new PeerAnswer(200, {}, '');
    const connection = new Connection();
    const asking = {
      requestId: 'req-1',
      instance: '/v1/test',
      derive: (_: unknown, parts: Request<Op>, given: { signal?: AbortSignal }) =>
        connection.call(id, parts, given.signal),
    };
    const onAbort = () => connection.close(false);
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      const answer = this.#hops
        .get(broker)!
        .peer(broker, asking as never)
        .call(id, request, signal);
      const written = await Promise.race([answer, aborted(signal)]);
      connection.close(true);
      return written;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** Makes a call at the front. */
  make(id: keyof ReturnType<typeof consumptionFront>, parts: object): Made {
    const connection = new Connection();
    const request = { path: {}, query: {}, headers: {}, body: undefined, bodyBytes: NO_BYTES, ...parts };
    const call = connection.call(id, request as never);
    let written = true;
    const told = async (): Promise<Told> => {
      const answer = await (this.#handlers[id] as (call: unknown) => Promise<Answer>)(call);
      if (written) connection.close(true);
      const { status, headers = {}, body, json, text } = answer;
      const content = typeof json === 'function' ? json() : (json ?? text);
      // As it is on the wire.
      const read = content ?? (body === undefined ? 'null' : JSON.stringify(body));
      return { status, headers, body: JSON.parse(read) as Told['body'] };
    };
    return {
      answer: told(),
      leaveUnread: () => (written = false),
      gone: () => {
        written = false;
        connection.close(false);
      },
    };
  }

  /** The same, and its answer; a failure is thrown. */
  call(id: keyof ReturnType<typeof consumptionFront>, parts: object): Promise<Told> {
    return this.make(id, parts).answer;
  }

  /** Result of the work, however much time it takes, and that time in milliseconds. */
  async timed<T>(work: Promise<T>): Promise<{ result: T; ms: number }> {
    const started = this.manual.monotonic();
    let done = false;
    const end = () => void (done = true);
    work.then(end, end);
    for (await turns(); !done; await turns()) await this.manual.advance(50);
    return { result: await work, ms: this.manual.monotonic() - started };
  }

  join(consumerId = 'c1', group = 'billing', topic = 'orders') {
    return this.call('joinGroup', { path: { group, consumerId }, body: { topic } });
  }

  makePoll(query: object = {}, consumerId = 'c1'): Made {
    return this.make('pollMessages', { path: { group: 'billing', consumerId }, query: { ...POLL, ...query } });
  }

  async poll(query: object = {}, consumerId = 'c1'): Promise<Polled> {
    return (await this.makePoll(query, consumerId).answer).body as unknown as Polled;
  }

  receive(body: object = {}, group = 'mail') {
    return this.make('receiveMessages', { path: { group }, body: { waitMs: 0, ...body } });
  }

  async received(body: object = {}, group = 'mail'): Promise<Received> {
    return (await this.receive(body, group).answer).body as unknown as Received;
  }

  on(name: string): TestBroker<ManualClock> {
    return this.brokers.get(name)!;
  }

  /** A group on all brokers. */
  async group(name: string, given: object = {}): Promise<void> {
    const [home, ...others] = this.brokers.values();
    await home!.group(name, given);
    for (const definition of home!.rooms.definitions.group(name))
      for (const t of others) await t.rooms.definitions.install(definition);
  }

  /** Stores messages in queue 0 of a broker. */
  async send(broker: string, ...bodies: string[]): Promise<void> {
    await this.on(broker).send('orders', ...bodies.map((body) => ({ body, queue: { broker, queueId: 0 } })));
  }

  /** So many calls wait at brokers. */
  async parked(count: number): Promise<void> {
    for (let i = 0; i < 10_000; i++) {
      let parked = 0;
      for (const { broker } of this.brokers.values()) parked += broker.lot.parked;
      if (parked === count) return;
      await turn();
    }
    throw new Error(`${count} calls never waited`);
  }
}

const turns = async () => {
  for (let i = 0; i < 20; i++) await turn();
};

export interface Polled {
  readonly messages: readonly { readonly body: string; readonly broker: string; readonly queueOffset: number }[];
  readonly cursor: string;
  readonly generation: string;
  readonly lag: number;
  readonly reason?: string;
  readonly unavailable?: readonly string[];
}

export interface Received {
  readonly messages: readonly { readonly body: string; readonly attempt: number; readonly receiptHandle: string }[];
  readonly reason?: string;
  readonly lag: { readonly ready: number; readonly inFlight: number };
  readonly unavailable?: readonly string[];
}

export const bodiesOf = ({ messages }: Pick<Polled, 'messages'> | Pick<Received, 'messages'>): string[] =>
  messages.map(({ body }) => body).sort();

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  });
}
