/**
 * Members join, leave, freeze and come back at random, commit early, late or never, while the broker restarts and
 * crashes: no queue is ever handed to two at once, and every message is consumed. A seed repeats a run:
 * `EXCLUSIVITY_SEED=123 npx jest exclusivity`; `GANTRY_RANDOM_MS=600000` lengthens it to ten minutes.
 */
import { ALLOCATIONS } from '../../src/broker/allocation';
import type { PollAnswer } from '../../src/broker/poller';
import { GantryError } from '../../src/base/errors';
import { decodeMessage } from '../../src/broker/message';
import type { ManualClock } from '../support/clock';
import { newGroup, seededChance, setup, stopBrokers, turn, type TestBroker } from '../support/broker';

afterEach(stopBrokers);

const SEED = Number(process.env['EXCLUSIVITY_SEED'] ?? Date.now() % 1_000_000);
const RUN_MS = Number(process.env['GANTRY_RANDOM_MS'] ?? 4000);
const CONSUMERS = ['ann', 'bob', 'cid', 'dee', 'eve', 'fay'];
const LEASE_MS = 10_000;
/** Refusals that a consumer must expect at any time. */
const EXPECTED = [
  'NOT_JOINED',
  'CONSUMER_REPLACED',
  'QUEUE_NOT_OWNED',
  'OFFSET_BACKWARDS',
  'SERVICE_NOT_AVAILABLE',
  'OUTCOME_UNKNOWN',
];

/** What a consumer was handed of a queue, while it owned it under one owner epoch, and has not committed. */
interface Holding {
  readonly consumer: string;
  readonly epoch: number;
  readonly upTo: number;
  /** When the queue may pass on at the latest, if its owner is to give it up. */
  deadline: number | undefined;
}

class Run {
  readonly #t: TestBroker<ManualClock>;
  readonly #below: (bound: number) => number;
  readonly #cursors = new Map<string, string>();
  readonly #lastContact = new Map<string, number>();
  readonly #frozenUntil = new Map<string, number>();
  readonly #polling = new Set<string>();
  readonly #holdings = new Map<number, Holding>();
  readonly handed = new Map<string, number>();
  readonly problems: string[] = [];
  /** How often each consumer left. */
  readonly #left = new Map<string, number>();
  /** Processes so far. */
  #life = 0;
  sent = 0;
  steps = 0;

  constructor(t: TestBroker<ManualClock>, seed: number) {
    this.#t = t;
    const chance = seededChance(seed);
    this.#below = (bound) => chance.below(bound);
  }

  async step(): Promise<void> {
    this.steps++;
    const consumer = CONSUMERS[this.#below(CONSUMERS.length)]!;
    const dice = this.#below(100);
    if (dice < 25) await this.#send();
    else if (dice < 37) await this.#t.clock.advance(this.#below(4) === 0 ? this.#below(LEASE_MS) : this.#below(500));
    else if (dice < 39) await this.#again();
    else if (dice < 41) await this.#change();
    else if ((this.#frozenUntil.get(consumer) ?? 0) > this.#t.clock.monotonic()) await turn();
    else if (dice < 45) this.#frozenUntil.set(consumer, this.#t.clock.monotonic() + this.#below(2 * LEASE_MS));
    else if (dice < 48) this.#leave(consumer);
    else if (dice < 60) await this.#join(consumer);
    else if (dice < 72) await this.#commit(consumer);
    else await this.#poll(consumer, dice < 86 ? 0 : 1000, dice % 3 === 0);
  }

  async #send(): Promise<void> {
    const bodies = Array.from({ length: 1 + this.#below(5) }, () => `m${this.sent++}`);
    await this.#t.send('orders', ...bodies);
  }

  /** A restart, or a crash. What was handed out stays with those who have it. */
  async #again(): Promise<void> {
    this.#settle();
    this.#life++;
    if (this.#below(2) === 0) await this.#t.restart();
    else await this.#t.crash();
    this.#polling.clear();
    // Every recorded owner has a full lease again; whoever has something is one.
    for (const { consumer } of this.#holdings.values())
      if (!this.#t.rooms.consumers.member(this.#group, consumer))
        this.problems.push(`step ${this.steps}: ${consumer} was forgotten in a restart`);
    for (const consumer of CONSUMERS) if (this.#t.rooms.consumers.member(this.#group, consumer)) this.#touch(consumer);
  }

  async #change(): Promise<void> {
    const { record } = this.#t.state.topicsByName.get('orders')!;
    if (this.#below(3) === 0 && record.readQueues < 12) {
      const queues = record.readQueues + 1;
      await this.#t.rooms.topics.update('orders', { readQueues: queues, writeQueues: queues });
    } else await this.#t.group('billing', { allocation: ALLOCATIONS[this.#below(3)]! });
  }

  async #join(consumer: string): Promise<void> {
    await this.#guard(async () => {
      await this.#t.join('billing', consumer, { leaseMs: LEASE_MS });
      this.#touch(consumer);
    });
  }

  #leave(consumer: string): void {
    if (!this.#t.rooms.consumers.leave(this.#group, consumer)) return;
    this.#left.set(consumer, (this.#left.get(consumer) ?? 0) + 1);
    this.#forget(consumer);
  }

  async #poll(consumer: string, waitMs: number, autoCommit: boolean): Promise<void> {
    if (this.#polling.has(consumer)) return;
    this.#polling.add(consumer);
    const cursor = this.#cursors.get(consumer) ?? '';
    const life = this.#life;
    const left = this.#left.get(consumer);
    const work = this.#guard(async () => {
      const answer = await this.#t.poll('billing', consumer, { waitMs, autoCommit, cursor, max: 1 + this.#below(8) });
      if (life !== this.#life) return; // its process is gone, and so is its answer
      if (left !== this.#left.get(consumer)) return; // who leaves gives up what his own poll still brings
      this.#touch(consumer);
      if (autoCommit) this.#settle();
      this.#take(consumer, answer);
    }).finally(() => this.#polling.delete(consumer));
    if (waitMs === 0) await work;
    else await turn();
  }

  #take(consumer: string, answer: PollAnswer): void {
    this.#cursors.set(consumer, answer.cursor);
    const covered = this.#t.rooms.positions.covered(this.#group, { cursor: answer.cursor, consumerId: consumer });
    const epochs = new Map(covered.map(({ queueId, epoch }) => [queueId, epoch!]));
    for (const { queue, queueOffset, record } of answer.messages) {
      const value = decodeMessage(record).body.toString();
      this.handed.set(value, (this.handed.get(value) ?? 0) + 1);
      this.#hand(`${value} of queue ${queue.queueId}`, queue.queueId, {
        ...{ consumer, epoch: epochs.get(queue.queueId)!, upTo: queueOffset + 1, deadline: undefined },
      });
    }
  }

  #hand(what: string, queueId: number, next: Holding): void {
    const holding = this.#holdings.get(queueId);
    if (holding?.consumer === next.consumer && holding.epoch === next.epoch) {
      this.#holdings.set(queueId, { ...holding, upTo: Math.max(holding.upTo, next.upTo) });
      return;
    }
    // Another owner, or the same one again after it had lost the queue: either may be only when nothing is out any more.
    if (holding && this.#holds(queueId, holding))
      this.problems.push(`step ${this.steps}: ${what} went to ${next.consumer} while ${holding.consumer} had it`);
    this.#holdings.set(queueId, next);
  }

  /** Whether a consumer still has something of a queue that nobody else may be handed. */
  #holds(queueId: number, { consumer, upTo, deadline }: Holding): boolean {
    const group = this.#group;
    const queue = this.#t.state.topicsByName.get('orders')!.queues[queueId]!;
    if ((group.offsets.get(queue.topic * 0x10000 + queueId) ?? 0) >= upTo) return false;
    const now = this.#t.clock.monotonic();
    if ((this.#lastContact.get(consumer) ?? -Infinity) + LEASE_MS <= now && !this.#polling.has(consumer)) return false;
    return deadline === undefined || deadline > now;
  }

  /** Notes the deadlines that the broker has set, and whose lease it took for over: never before its time. */
  watch(): void {
    const now = this.#t.clock.monotonic();
    for (const { consumer } of [...this.#holdings.values()]) {
      if (this.#t.rooms.consumers.member(this.#group, consumer)) continue;
      const left = (this.#lastContact.get(consumer) ?? -Infinity) + LEASE_MS - now;
      if (left > 0) this.problems.push(`step ${this.steps}: ${consumer} lost its lease ${left} ms early`);
      this.#forget(consumer);
    }
    for (const [queueId, holding] of this.#holdings) this.#watchDeadline(queueId, holding, now);
  }

  #watchDeadline(queueId: number, holding: Holding, now: number): void {
    const { consumers } = this.#t.rooms;
    const queue = this.#t.state.topicsByName.get('orders')!.queues[queueId]!;
    const member = consumers.member(this.#group, holding.consumer)!;
    // It lost the queue, and may have it again: a deadline of its new ownership is none for what it had before.
    if (consumers.epochOf(this.#group, member, queue) !== holding.epoch) return;
    const deadline = member.revoking.get(queue)?.deadline;
    // Without one it need not give the queue up any more, unless its time was over: then the new owner is being recorded.
    if (deadline !== undefined || (holding.deadline ?? Infinity) > now) holding.deadline = deadline;
  }

  async #commit(consumer: string): Promise<void> {
    const cursor = this.#cursors.get(consumer);
    if (cursor === undefined || cursor === '') return;
    await this.#guard(async () => {
      await this.#t.rooms.positions.commit('billing', {
        ...{ consumerId: consumer, cursor, generation: undefined, offsets: undefined, force: false },
      });
      this.#settle();
    });
  }

  /** What is committed is held no more. */
  #settle(): void {
    for (const [queueId, holding] of this.#holdings) if (!this.#holds(queueId, holding)) this.#holdings.delete(queueId);
  }

  #forget(consumer: string): void {
    this.#cursors.delete(consumer);
    this.#lastContact.delete(consumer);
    for (const [queueId, holding] of this.#holdings) if (holding.consumer === consumer) this.#holdings.delete(queueId);
  }

  #touch(consumer: string): void {
    this.#lastContact.set(consumer, this.#t.clock.monotonic());
  }

  async #guard(work: () => Promise<void>): Promise<void> {
    const life = this.#life;
    try {
      await work();
    } catch (error) {
      if (life !== this.#life) return; // it was told by a process that is gone
      if (!(error instanceof GantryError && EXPECTED.includes(error.code))) this.problems.push(String(error));
    }
  }

  get #group() {
    return this.#t.state.groupsByName.get('billing')!;
  }

  /** Everybody is well again and consumes what is left. */
  async finish(): Promise<void> {
    this.#frozenUntil.clear();
    await this.#t.clock.advance(3 * LEASE_MS);
    this.watch();
    for (let round = 0; round < 2000; round++) {
      for (const consumer of CONSUMERS) {
        this.watch();
        await this.#join(consumer);
        await this.#poll(consumer, 0, true);
      }
      this.watch();
      if (this.#t.rooms.positions.lag(this.#group) === 0) return;
      await this.#t.clock.advance(200);
    }
    this.problems.push(`${this.#t.rooms.positions.lag(this.#group)} messages were never consumed`);
  }
}

test(
  `whoever comes and goes, no queue is handed to two at once, and every message is consumed (seed ${SEED})`,
  async () => {
    const end = performance.now() + RUN_MS;
    for (let seed = SEED; performance.now() < end; seed++) {
      const t = await setup({ seed });
      await t.topic('orders', { readQueues: 5, writeQueues: 5 });
      await t.rooms.groups.put(newGroup('billing'));
      const run = new Run(t, seed);
      for (let i = 0; i < 400 && run.problems.length === 0; i++) {
        await run.step();
        run.watch();
      }
      if (run.problems.length === 0) await run.finish();
      const never = Array.from({ length: run.sent }, (_, i) => `m${i}`).filter((value) => !run.handed.has(value));
      expect({ seed, problems: run.problems, never }).toEqual({ seed, problems: [], never: [] });
      await stopBrokers();
    }
  },
  RUN_MS + 60_000,
);
