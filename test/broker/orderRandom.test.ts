/**
 * The order of a messageGroup against a model: several senders at once, consumers of assigned queues, and workers of an
 * ordered lease group who fail, let leases run out and lose answers, while reads and writes hang and the broker restarts
 * or loses its power. What must hold: the first deliveries of a messageGroup come in the order in which its sends were
 * acknowledged, to either group; a redelivery goes on without a gap; no worker gets a message while an earlier one of
 * its messageGroup is not done; everything is consumed. A failure says its seed:
 *
 *   GANTRY_RANDOM_SEED=<seed> npx jest test/broker/orderRandom     that plan alone
 *   GANTRY_RANDOM_MS=600000   npx jest test/broker/orderRandom     other plans for ten minutes
 */
import { GantryError } from '../../src/base/errors';
import type { ReceiveAnswer } from '../../src/broker/leases';
import { decodeMessage } from '../../src/broker/message';
import type { PollAnswer } from '../../src/broker/poller';
import type { Delivery } from '../../src/broker/reader';
import { message, seededChance, setup, stopBrokers, stored, turn, type TestBroker } from '../support/broker';
import type { ManualClock } from '../support/clock';

const RUN_MS = Number(process.env.GANTRY_RANDOM_MS ?? 5000);
const SEED = process.env.GANTRY_RANDOM_SEED;
const QUEUES = 3;
const SENDERS = 4;
const MESSAGE_GROUPS = 5;
const READERS = ['ann', 'bob', 'cid'];
const LEASE_MS = 10_000;
/** What a client must expect at any time. */
const EXPECTED = ['NOT_JOINED', 'CONSUMER_REPLACED', 'SERVICE_NOT_AVAILABLE', 'OUTCOME_UNKNOWN'];

afterEach(stopBrokers);

interface Sent {
  readonly body: string;
  readonly messageGroup: string;
}

/** One that is stored. */
interface Known extends Sent {
  readonly queueId: number;
  readonly offset: number;
}

/** A sender does one thing after the other, and repeats what has a key until it is answered. */
interface Sender {
  readonly name: string;
  busy: boolean;
  unanswered: { readonly key: string; readonly messages: readonly Sent[] } | undefined;
}

interface Reader {
  readonly name: string;
  cursor: string;
  busy: boolean;
}

/** What a worker holds. */
interface Held {
  readonly known: Known;
  readonly handle: string;
}

interface Call {
  readonly done: Promise<void>;
  readonly lost: () => void;
}

class Plan {
  readonly #chance: ReturnType<typeof seededChance>;
  readonly #seed: number;
  readonly #log: string[] = [];
  readonly #senders: Sender[] = Array.from({ length: SENDERS }, (_, i) => ({
    ...{ name: `s${i}`, busy: false, unanswered: undefined },
  }));
  readonly #readers: Reader[] = READERS.map((name) => ({ name, cursor: '', busy: false }));
  readonly #stored = new Map<string, Known>();
  /** The last acknowledged offset of each messageGroup, and the last of those without a key. */
  readonly #acknowledged = new Map<string, number>();
  readonly #acknowledgedPlain = new Map<string, number>();
  /** Bodies whose send was acknowledged. */
  readonly #certain = new Set<string>();
  /** By group of consumers: what was delivered, and how far the first deliveries of each messageGroup are. */
  readonly #delivered = { readers: new Set<string>(), workers: new Set<string>() };
  readonly #first = { readers: new Map<string, number>(), workers: new Map<string, number>() };
  readonly #held: Held[] = [];
  readonly #settled = new Map<string, 'MAYBE' | 'YES'>();
  readonly #calls = new Set<Call>();
  #t!: TestBroker<ManualClock>;
  #sent = 0;
  #life = 0;
  #failure: Error | undefined;
  redelivered = 0;
  blocked = 0;

  constructor(seed: number) {
    this.#seed = seed;
    this.#chance = seededChance(seed);
  }

  get story(): string {
    return this.#log.slice(SEED === undefined ? -80 : 0).join('\n');
  }

  #below(bound: number): number {
    return this.#chance.below(bound);
  }

  #one<T>(items: readonly T[]): T | undefined {
    return items[this.#below(items.length)];
  }

  #note(what: string): void {
    this.#log.push(`${this.#t.clock.monotonic()} ${what}`);
  }

  #check(condition: boolean, what: string): void {
    if (condition) return;
    this.#note(`FAILED: ${what}`);
    throw new Error(what);
  }

  async run(): Promise<void> {
    const tailBytes = this.#below(2) === 0 ? 1 << 20 : 1000;
    this.#t = await setup({ seed: this.#seed, options: { tailBytes } });
    await this.#t.topic('orders', { type: 'FIFO', readQueues: QUEUES, writeQueues: QUEUES });
    await this.#t.group('readers');
    await this.#t.group('workers', { ordered: true, maxAttempts: 1000, retryDelaysMs: [500, 2000] });
    for (let step = 0; step < 250; step++) {
      await this.#step();
      if (this.#failure) throw this.#failure;
    }
    await this.#finish();
    await this.#t.stop();
  }

  async #step(): Promise<void> {
    const kind = this.#below(100);
    if (kind < 20) this.#send();
    else if (kind < 24) this.#join();
    else if (kind < 25) this.#leave();
    else if (kind < 40) this.#poll(this.#below(2) * this.#below(3000));
    else if (kind < 57) this.#receive(this.#below(2) * this.#below(3000));
    else if (kind < 72) this.#acknowledge();
    else if (kind < 77) this.#nack();
    else if (kind < 85) await this.#t.clock.advance(1 + this.#below(this.#below(4) === 0 ? 8000 : 700));
    else if (kind < 90) this.#hang();
    else if (kind < 92) await this.#crash();
    else if (kind < 93) await this.#restart();
    else for (let turns = this.#below(6); turns >= 0; turns--) await turn();
  }

  /** Runs a call; what comes after the power went, nobody hears. */
  #call(work: (heard: () => boolean) => Promise<void>, lost: () => void = () => undefined): void {
    const life = this.#life;
    const heard = () => life === this.#life;
    const done = work(heard).then(
      () => void this.#calls.delete(call),
      (error: unknown) => {
        this.#calls.delete(call);
        if (!heard()) return;
        if (error instanceof GantryError && EXPECTED.includes(error.code)) return lost();
        this.#failure ??= error as Error;
      },
    );
    const call = { done, lost };
    this.#calls.add(call);
  }

  // --- senders ---------------------------------------------------------------------------------------------------

  #send(sender = this.#one(this.#senders.filter(({ busy }) => !busy))): void {
    if (!sender) return;
    sender.busy = true;
    const again = sender.unanswered;
    const messages =
      again?.messages ??
      Array.from({ length: 1 + this.#below(3) }, () => ({
        body: `m${this.#sent++}`,
        messageGroup: `g${this.#below(MESSAGE_GROUPS)}`,
      }));
    const key = again?.key ?? (this.#below(3) === 0 ? messages[0]!.body : undefined);
    sender.unanswered = key === undefined ? undefined : { key, messages };
    const text = messages.map(({ body, messageGroup }) => `${body}:${messageGroup}`).join(' ');
    this.#note(`${sender.name} sends ${text} ${key === undefined ? '' : 'with a key'}`);
    const before = new Map(this.#acknowledged);
    this.#call(
      async (heard) => {
        const { results, replayed } = await this.#t.rooms.sender.send('orders', messages.map(message), key);
        if (!heard()) return;
        sender.busy = false;
        sender.unanswered = undefined;
        this.#note(`${sender.name} is answered ${messages[0]!.body}${replayed ? ' again' : ''}`);
        results.map(stored).forEach(({ queueId, queueOffset }, i) => {
          const known = this.#learn(messages[i]!, queueId, queueOffset);
          this.#certain.add(known.body);
          if (replayed) return; // it was stored long ago, and its first answer lost
          this.#isBehind(known, before);
          // With a key an answer takes a few steps more, so that others of its turn may be quicker.
          if (key === undefined) this.#isBehind(known, this.#acknowledgedPlain).set(known.messageGroup, known.offset);
          const { messageGroup, offset } = known;
          this.#acknowledged.set(messageGroup, Math.max(offset, this.#acknowledged.get(messageGroup) ?? -1));
        });
      },
      () => (sender.busy = false),
    );
  }

  #learn({ body, messageGroup }: Sent, queueId: number, offset: number): Known {
    const before = this.#stored.get(body);
    this.#check(
      !before || (before.queueId === queueId && before.offset === offset),
      `${body} is at ${before?.queueId}/${before?.offset}, and at ${queueId}/${offset}`,
    );
    const known = before ?? { body, messageGroup, queueId, offset };
    this.#stored.set(body, known);
    for (const other of this.#stored.values())
      this.#check(
        other.messageGroup !== messageGroup || other.queueId === queueId,
        `${body} and ${other.body} of ${messageGroup} are in two queues`,
      );
    return known;
  }

  #isBehind({ body, messageGroup, offset }: Known, acknowledged: Map<string, number>): Map<string, number> {
    const last = acknowledged.get(messageGroup) ?? -1;
    this.#check(offset > last, `${body} is acknowledged behind offset ${last} of ${messageGroup}, and has ${offset}`);
    return acknowledged;
  }

  // --- deliveries ------------------------------------------------------------------------------------------------

  #known({ record, queue, queueOffset }: Delivery): Known {
    const { body, messageGroup } = decodeMessage(record);
    return this.#learn({ body: body.toString(), messageGroup: messageGroup! }, queue.queueId, queueOffset);
  }

  #deliveredTo(group: 'readers' | 'workers', known: Known): void {
    const { body, messageGroup, offset } = known;
    this.#note(`  ${group} got ${body}`);
    if (this.#delivered[group].has(body)) {
      this.redelivered++;
      return;
    }
    const last = this.#first[group].get(messageGroup) ?? -1;
    this.#check(offset > last, `${group} got ${body} at ${offset} first, behind ${last} of ${messageGroup}`);
    const earlier = [...this.#stored.values()].find(
      (one) => one.messageGroup === messageGroup && one.offset < offset && !this.#delivered[group].has(one.body),
    );
    this.#check(!earlier, `${group} got ${body}, and not ${earlier?.body} before it`);
    this.#delivered[group].add(body);
    this.#first[group].set(messageGroup, offset);
  }

  #join(reader = this.#one(this.#readers)!): void {
    this.#note(`${reader.name} joins`);
    this.#call(async () => void (await this.#t.join('readers', reader.name, { leaseMs: LEASE_MS })));
  }

  #leave(): void {
    const reader = this.#one(this.#readers)!;
    this.#note(`${reader.name} leaves`);
    try {
      this.#t.rooms.groups.leave('readers', reader.name);
    } catch (error) {
      if (!(error instanceof GantryError)) throw error; // it had not joined
    }
    reader.cursor = '';
  }

  #poll(waitMs: number, reader = this.#one(this.#readers.filter(({ busy }) => !busy))): void {
    if (!reader) return;
    reader.busy = true;
    const { name, cursor } = reader;
    // Without its cursor: it has forgotten everything, as a new process of that name has.
    const forgets = this.#below(8) === 0;
    const options = { max: 1 + this.#below(8), waitMs, cursor: forgets ? '' : cursor, autoCommit: this.#below(4) > 0 };
    this.#note(`${name} polls ${JSON.stringify({ ...options, cursor: forgets ? 'forgotten' : cursor !== '' })}`);
    this.#call(
      async (heard) => {
        const answer = await this.#t.poll('readers', name, options);
        if (!heard()) return;
        reader.busy = false;
        if (this.#below(10) === 0) return; // the answer was lost on its way
        reader.cursor = answer.cursor;
        this.#read(answer);
      },
      () => {
        reader.busy = false;
        this.#join(reader);
      },
    );
  }

  #read({ messages }: PollAnswer): void {
    const next = new Map<number, number>();
    for (const delivery of messages) {
      const { queueId, offset, body } = this.#known(delivery);
      this.#check((next.get(queueId) ?? offset) === offset, `${body} at ${offset} follows ${next.get(queueId)! - 1}`);
      next.set(queueId, offset + 1);
      this.#deliveredTo('readers', this.#stored.get(body)!);
    }
  }

  #receive(waitMs: number): void {
    const options = { max: 1 + this.#below(6), waitMs, invisibleMs: 1000 + this.#below(5000) };
    this.#note(`receive ${JSON.stringify(options)}`);
    this.#call(async (heard) => {
      const answer = await this.#t.receive('workers', options);
      if (!heard()) return;
      if (this.#below(8) > 0) return this.#got(answer);
      if (this.#below(2) === 0) answer.giveBack(); // the client is gone, and the broker knows
    });
  }

  #got(answer: ReceiveAnswer): void {
    for (const delivery of answer.messages) {
      const known = this.#known(delivery);
      const { body, messageGroup, offset } = known;
      this.#check(this.#settled.get(body) !== 'YES', `${body} is handed out, though it is acknowledged`);
      for (const other of this.#stored.values()) {
        if (other.messageGroup !== messageGroup || other.offset >= offset) continue;
        this.#check(this.#settled.has(other.body), `${body} is handed out before ${other.body}, which is not done`);
      }
      this.#deliveredTo('workers', known);
      this.#settled.delete(body); // it was not, then
      this.#held.push({ known, handle: delivery.receiptHandle });
    }
    if (answer.reason === 'BLOCKED') this.blocked++;
  }

  #take(): Held | undefined {
    return this.#held.splice(this.#below(this.#held.length), 1)[0];
  }

  #acknowledge(held = this.#take()): void {
    if (!held) return;
    const { known, handle } = held;
    this.#note(`ack ${known.body}`);
    // From now on the next one may come, whether or not the answer does.
    const before = this.#settled.get(known.body);
    this.#settled.set(known.body, before ?? 'MAYBE');
    this.#call(async (heard) => {
      const [result] = await this.#t.rooms.leases.acknowledge('workers', [handle]);
      if (!heard()) return;
      if (!result!.error) this.#settled.set(known.body, 'YES');
      else this.#check(result!.error.code === 'LATE_ACK', `${known.body}: ${result!.error.message}`);
    });
  }

  #nack(): void {
    const held = this.#take();
    if (!held) return;
    const { known, handle } = held;
    const delayMs = this.#below(2) === 0 ? undefined : this.#below(3000);
    this.#note(`nack ${known.body} ${delayMs ?? ''}`);
    this.#call(async (heard) => {
      const [result] = await this.#t.rooms.leases.nack('workers', [{ receiptHandle: handle, delayMs }]);
      if (!heard()) return;
      const fine = result!.error === undefined ? result!.outcome === 'WAITING' : result!.error.code === 'LATE_ACK';
      this.#check(fine, `${known.body}: ${result!.outcome} ${result!.error?.message}`);
    });
  }

  // --- the broker ------------------------------------------------------------------------------------------------

  /** A disk hangs for some turns of the event loop. */
  #hang(): void {
    const hold = this.#t.disk.hold(
      this.#below(2) === 0 ? 'journal' : 'tables',
      this.#below(3) === 0 ? 'read' : 'write',
    );
    const turns = this.#below(12);
    void (async () => {
      for (let i = 0; i < turns; i++) await turn();
      hold.release();
    })();
  }

  async #crash(): Promise<void> {
    this.#note('crash');
    this.#life++;
    const calls = [...this.#calls];
    this.#calls.clear();
    await this.#t.crash();
    for (const { lost } of calls) lost();
  }

  async #restart(): Promise<void> {
    this.#note('restart');
    const calls = [...this.#calls];
    this.#t.disk.release();
    await this.#t.broker.stop();
    await Promise.all(calls.map(({ done }) => done));
    await this.#t.stop();
    await this.#t.open();
    await this.#t.broker.start();
  }

  // --- the end ---------------------------------------------------------------------------------------------------

  async #quiet(): Promise<void> {
    this.#t.disk.release();
    while (this.#calls.size > 0) {
      await Promise.race([Promise.all([...this.#calls].map(({ done }) => done)), this.#t.clock.advance(5000)]);
      if (this.#failure) throw this.#failure;
    }
    if (this.#failure) throw this.#failure;
  }

  /** What has a key is answered, and everybody does his work until nothing is left. */
  async #finish(): Promise<void> {
    this.#note('finish');
    await this.#quiet();
    for (const sender of this.#senders) if (sender.unanswered) this.#send(sender);
    await this.#quiet();
    for (let round = 0; this.#left() > 0; round++) {
      this.#check(round < 1000, `${this.#left()} are left, and nothing goes on`);
      this.#receive(0);
      this.#poll(0, this.#readers[round % READERS.length]);
      await this.#quiet();
      while (this.#held.length > 0) this.#acknowledge();
      await this.#quiet();
      await this.#t.clock.advance(500);
    }
    for (const body of this.#certain)
      for (const group of ['readers', 'workers'] as const)
        this.#check(this.#delivered[group].has(body), `${group} never got ${body}`);
  }

  /** Messages that a group has not done. */
  #left(): number {
    return ['readers', 'workers'].reduce((sum, group) => {
      const { queues } = this.#t.rooms.positions.offsets(group);
      return sum + queues.reduce((open, { queue, committed }) => open + queue.max - committed, 0);
    }, 0);
  }
}

const counts = { redelivered: 0, blocked: 0 };

async function live(seed: number): Promise<void> {
  const plan = new Plan(seed);
  try {
    await plan.run();
  } catch (error) {
    throw new Error(`GANTRY_RANDOM_SEED=${seed}: ${String(error)}\n${plan.story}`, { cause: error });
  }
  counts.redelivered += plan.redelivered;
  counts.blocked += plan.blocked;
}

test(
  'whoever sends, fails, and whatever happens to the broker: a messageGroup keeps the order of its acknowledgements',
  async () => {
    const seed = SEED === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(SEED);
    if (SEED !== undefined) return live(seed);
    const end = performance.now() + RUN_MS;
    let plans = 0;
    for (; performance.now() < end; plans++) await live(seed + plans);
    console.info(`${plans} plans, from GANTRY_RANDOM_SEED=${seed}: ${JSON.stringify(counts)}`);
    expect(plans).toBeGreaterThan(0);
    expect(Math.min(...Object.values(counts))).toBeGreaterThan(0);
  },
  RUN_MS + 60_000,
);
