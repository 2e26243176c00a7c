/** Learning from other brokers: what was decided while this one could not be told, before it registers and ever after. */
import { GantryError } from '../../src/base/errors';
import { silentLog } from '../../src/base/log';
import { deletionOf, type Definition } from '../../src/broker/definition';
import { topicsHere } from '../../src/broker/group';
import type { DefinitionAnswer, DefinitionPeers, DefinitionQuestion } from '../../src/cluster/definitionPeers';
import type { LiveBroker } from '../../src/cluster/fleet';
import { Reconciler, RECONCILE_MS } from '../../src/cluster/reconciler';
import { codeOf, newTopic, setup, stopBrokers, until, type TestBroker } from '../support/broker';
import type { ManualClock } from '../support/clock';

type Bench = TestBroker<ManualClock>;

/** Other brokers, asked without a network between; each can be told to be away, or to hang. */
class FakePeers implements DefinitionPeers {
  readonly asked: { readonly broker: string; readonly question: DefinitionQuestion }[] = [];
  readonly away = new Set<string>();
  readonly hanging = new Set<string>();
  readonly #brokers: Readonly<Record<string, Bench>>;
  readonly #page: number;

  constructor(brokers: Readonly<Record<string, Bench>>, page = 1000) {
    this.#brokers = brokers;
    this.#page = page;
  }

  install(): Promise<never> {
    return Promise.reject(new Error('a reconciler tells nobody'));
  }

  leave(): Promise<never> {
    return Promise.reject(new Error('a reconciler takes nothing away'));
  }

  holdings(): Promise<never> {
    return Promise.reject(new Error('a reconciler takes nothing away'));
  }

  async list(broker: string, question: DefinitionQuestion, signal: AbortSignal): Promise<DefinitionAnswer> {
    this.asked.push({ broker, question });
    if (this.away.has(broker)) throw new GantryError('SERVICE_NOT_AVAILABLE', 'away');
    if (this.hanging.has(broker)) await aborted(signal);
    const { definitions } = this.#brokers[broker]!.rooms;
    const { digest } = definitions;
    if (digest === question.digest) return { digest, definitions: [] };
    const page = definitions.list(question.cursor ?? '', this.#page);
    const told = JSON.parse(JSON.stringify(page.definitions)) as Definition[];
    return { digest, definitions: told, ...(page.next === undefined ? {} : { cursor: page.next }) };
  }
}

const aborted = (signal: AbortSignal) =>
  new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)));

let running: Reconciler[] = [];

afterEach(async () => {
  await Promise.all(running.map((one) => one.stop()));
  running = [];
  await stopBrokers();
});

/** Broker b beside a, and c if it is wanted; topics of a are on all of them. */
async function bench({ names = ['a'], page }: { names?: readonly string[]; page?: number } = {}) {
  const all: Record<string, Bench> = {};
  // Of another chance each: no two of them make the same ids.
  for (const name of [...names, 'b']) all[name] = await setup({ seed: name.charCodeAt(0), options: { name } });
  const own = all['b']!;
  const peers = new FakePeers(all, page);
  const live: LiveBroker[] = Object.keys(all).map((name) => ({
    name,
    cluster: 'c',
    address: `${name}:1`,
    idMark: name,
    lastHeartbeatTimestamp: 0,
  }));
  const fleet = { brokersNow: (): Promise<readonly LiveBroker[]> => Promise.resolve(live) };
  const parts = { clock: own.clock, log: silentLog, name: 'b', fleet, peers, definitions: () => own.rooms.definitions };
  const reconciler = new Reconciler(parts);
  running.push(reconciler);
  return { a: all['a']!, c: all['c']!, own, peers, fleet, live, reconciler };
}

const names = (t: Bench) => [...t.state.topicsByName.keys()].sort();
const everywhere = { brokers: ['b', 'c'] };

test('when it has started, the broker knows what others know: topics, then the groups that read them, page by page', async () => {
  const { a, own, reconciler } = await bench({ page: 1 });
  await a.topic('orders', everywhere);
  await a.topic('mail', everywhere);
  await a.topic('gone', everywhere);
  await a.rooms.topics.delete('gone', false);
  await a.group();
  await reconciler.start();
  expect([names(own), [...own.state.groupsByName.keys()]]).toEqual([['mail', 'orders'], ['billing']]);
  expect([...own.state.tombstones.TOPIC.keys()]).toEqual(['gone']);
});

test('it asks again every 30 s, and is told nothing while nothing has changed', async () => {
  const { a, own, peers, reconciler } = await bench();
  await a.topic('orders', everywhere);
  await reconciler.start();
  const { end } = own.journal;
  for (const rounds of [2, 3]) {
    await own.clock.advance(RECONCILE_MS);
    await until(() => peers.asked.length === rounds, 'another question');
  }
  // The first round brought a topic: all that was said before is asked for once more.
  expect(peers.asked.map(({ question }) => question.digest)).toEqual([
    undefined,
    undefined,
    a.rooms.definitions.digest,
  ]);
  expect(own.journal.end).toBe(end);
  await a.topic('mail', everywhere);
  await own.clock.advance(RECONCILE_MS);
  await until(() => names(own).includes('mail'), 'the new topic');
});

test('a broker that was not registered yet, or did not answer, is asked soon, not after 30 s', async () => {
  const { a, own, peers, live, reconciler } = await bench();
  await a.topic('orders', everywhere);
  const [first] = live.splice(0, 1);
  await reconciler.start();
  expect(peers.asked).toEqual([]);
  peers.away.add('a');
  live.unshift(first!);
  await own.clock.advance(500);
  await until(() => peers.asked.length === 1, 'the question');
  await Promise.resolve();
  peers.away.delete('a');
  await own.clock.advance(1000);
  await until(() => names(own).includes('orders'), 'the topic');
  await own.clock.advance(RECONCILE_MS - 1);
  expect(peers.asked).toHaveLength(2);
});

test('a topic that comes from one broker makes what another one said before concern this one: it is asked for that again', async () => {
  const { a, c, own, peers, reconciler } = await bench({ names: ['a', 'c'] });
  await a.topic('orders', everywhere);
  await c.topic('mail', { brokers: ['a'] });
  await a.rooms.definitions.install(c.rooms.definitions.topic('mail')[0]);
  await a.group('billing', { allowMultipleTopics: true });
  await a.join('billing', 'c1', { topic: 'mail' });
  await reconciler.start();
  const { state } = own;
  const read = () => topicsHere(own.rooms.groups.get('billing').record).map((no) => state.topics.get(no)!.record.name);
  expect(read()).toEqual(['orders']);
  await reconciler.runOnce();
  // The home of mail has spread it to this broker, and the home of the group knows nothing of it.
  await c.rooms.topics.update('mail', { brokers: ['b'] });
  await reconciler.runOnce();
  expect([names(own), read()]).toEqual([['mail', 'orders'], ['orders']]);
  const { length } = peers.asked;
  await reconciler.runOnce();
  expect(read()).toEqual(['orders', 'mail']);
  expect(peers.asked.slice(length).map(({ question }) => question.digest)).toEqual([undefined, undefined]);
});

test('brokers that are away keep nobody from starting, nor does it when no NameServer answers', async () => {
  const { a, own, peers, fleet, reconciler } = await bench({ names: ['a', 'c'] });
  await a.topic('orders', everywhere);
  peers.away.add('c');
  await reconciler.start();
  expect(names(own)).toEqual(['orders']);
  jest.spyOn(fleet, 'brokersNow').mockRejectedValueOnce(new GantryError('SERVICE_NOT_AVAILABLE', 'nobody answers'));
  await reconciler.runOnce();
  peers.away.clear();
  await reconciler.runOnce();
  expect(peers.asked.filter(({ broker }) => broker === 'c')).toHaveLength(2);
});

test('a broker that hangs holds up the start for 3 s, and nobody else’s word', async () => {
  const { a, own, peers, reconciler } = await bench({ names: ['a', 'c'] });
  await a.topic('orders', everywhere);
  peers.hanging.add('c');
  let started = false;
  const starting = reconciler.start().then(() => (started = true));
  await until(() => names(own).includes('orders'), 'what the other one knows');
  await own.clock.advance(2999);
  expect(started).toBe(false);
  await own.clock.advance(1);
  await starting;
});

test('what is refused here is tried again, and nothing behind it is left out', async () => {
  const { a, own, peers, reconciler } = await bench();
  await own.topic('orders');
  await own.send('orders', 'x');
  await a.topic('orders', everywhere);
  await a.topic('payments', everywhere);
  await reconciler.start();
  expect(names(own)).toEqual(['orders', 'payments']);
  await own.rooms.topics.delete('orders', true);
  await reconciler.runOnce();
  expect(peers.asked[1]!.question.digest).toBeUndefined();
  expect(own.rooms.topics.get('orders').id).toBe(a.rooms.topics.get('orders').id);
});

test('a deletion that another broker learnt while its home is away is learnt from it', async () => {
  const { a, own, reconciler } = await bench();
  await own.topic('orders', { brokers: ['a'] });
  const { name, id } = own.rooms.topics.get('orders');
  await a.rooms.definitions.install(deletionOf('TOPIC', { name, id, version: 2, deletedAt: 1 }));
  await reconciler.start();
  expect(await codeOf(Promise.resolve().then(() => own.rooms.topics.get('orders')))).toBe('TOPIC_NOT_FOUND');
  expect((await own.rooms.topics.create(newTopic('orders'))).topic.version).toBe(3);
});

test('once it is stopped it asks nobody, and takes nothing over', async () => {
  const { a, own, peers, reconciler } = await bench();
  await a.topic('orders', everywhere);
  peers.hanging.add('a');
  const starting = reconciler.start();
  await until(() => peers.asked.length === 1, 'the question');
  await reconciler.stop();
  await starting;
  await own.clock.advance(RECONCILE_MS);
  expect([names(own), peers.asked.length]).toEqual([[], 1]);
});
