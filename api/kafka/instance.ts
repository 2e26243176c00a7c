/** One consumer instance at the front that has it. Its calls are served one after the other. */
import type { Clock } from '../../src/base/clock';
import { Assigned } from './assigned';
import { illegalState, partitionMissing, topicMissing } from './faults';
import type { Native } from './native';
import type { InstanceNote } from './notes';
import { partitionsOf } from './partitions';
import { topicOf } from './produce';
import type { QueueAt, Reading } from './reading';
import type { Settings } from './settings';
import { Subscribed, type Wanted } from './subscribed';

/** A partition as clients name it. */
export interface Place {
  readonly topic: string;
  readonly partition: number;
}

export class Instance {
  readonly group: string;
  readonly name: string;
  readonly settings: Settings;
  readonly #native: Native;
  readonly #clock: Clock;
  #reading: Reading | undefined;
  #reads: InstanceNote['reads'];
  #turn: Promise<unknown> = Promise.resolve();
  #busy = 0;
  #usedAt: number;

  constructor(native: Native, clock: Clock, group: string, name: string, settings: Settings) {
    this.#native = native;
    this.#clock = clock;
    this.group = group;
    this.name = name;
    this.settings = settings;
    this.#usedAt = clock.monotonic();
  }

  /** What another front needs to go on with it. */
  get reads(): InstanceNote['reads'] {
    return this.#reads;
  }

  get subscribed(): Subscribed | undefined {
    return this.#reading instanceof Subscribed ? this.#reading : undefined;
  }

  /** Undefined until it was subscribed or assigned. */
  get reading(): Reading | undefined {
    return this.#reading;
  }

  /** Milliseconds since its last call ended; 0 while one is under way. */
  get idleMs(): number {
    return this.#busy > 0 ? 0 : this.#clock.monotonic() - this.#usedAt;
  }

  /** A call of its client: after those before it. */
  async serve<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await this.#inTurn(work);
    } finally {
      this.#usedAt = this.#clock.monotonic();
    }
  }

  /** What is done for it between its calls does not keep it alive. Skipped while a call is under way: that does it, too. */
  async care(signal: AbortSignal): Promise<void> {
    if (this.#busy === 0) await this.#inTurn(async () => this.#reading?.refresh(signal));
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    this.#busy++;
    const before = this.#turn;
    const turn = before.then(work, work);
    this.#turn = turn.catch(() => undefined);
    try {
      return await turn;
    } finally {
      this.#busy--;
    }
  }

  /** Replaces an earlier subscription. */
  async subscribe(wanted: Wanted, signal: AbortSignal): Promise<void> {
    if (this.#reading instanceof Assigned)
      throw illegalState('Subscription to topics, partitions and pattern are mutually exclusive');
    const reading = new Subscribed(this.#parts(), wanted);
    await this.#reading?.stop(true, signal);
    this.#reading = undefined;
    await reading.start(signal);
    this.#reading = reading;
    this.#reads = wanted;
  }

  /** Replaces an earlier assignment. */
  async assign(places: readonly Place[], signal: AbortSignal): Promise<void> {
    if (this.#reading instanceof Subscribed)
      throw illegalState('Subscription to topics, partitions and pattern are mutually exclusive');
    const queues = await queuesOf(this.#native, places);
    const reading = new Assigned(this.#parts());
    await this.#reading?.stop(true, signal);
    await reading.start(queues, signal);
    this.#reading = reading;
    this.#reads = { assigned: places };
  }

  /** As it read at the front that had it before; position = committed. */
  async resume(reads: InstanceNote['reads'], signal: AbortSignal): Promise<void> {
    if (!reads) return;
    if ('assigned' in reads) await this.assign(reads.assigned, signal);
    else await this.subscribe(reads, signal);
  }

  /** It reads nothing any more; see Reading.stop. */
  async stop(commits: boolean, signal: AbortSignal): Promise<void> {
    const reading = this.#reading;
    this.#reading = undefined;
    this.#reads = undefined;
    await reading?.stop(commits, signal);
  }

  #parts() {
    const { reset, autoCommit } = this.settings;
    return { native: this.#native, clock: this.#clock, group: this.group, consumer: this.name, reset, autoCommit };
  }
}

/** The queues of partitions. Throws 404 for what does not exist. */
export async function queuesOf(native: Native, places: readonly Place[]): Promise<QueueAt[]> {
  return Promise.all(
    places.map(async ({ topic, partition }) => {
      const facts = await topicOf(native, topic);
      if (!facts) throw topicMissing();
      const queue = partitionsOf(facts).queueOf(partition);
      if (!queue) throw partitionMissing();
      return { topic, broker: queue.broker, queueId: queue.queueId };
    }),
  );
}
