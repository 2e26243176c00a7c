/** One consumer instance at the front that has it. Its calls are served one after the other. */
import type { Clock } from '../../src/base/clock';
import { Assigned } from './assigned';
import { illegalState } from './faults';
import type { Native } from './native';
import type { InstanceNote } from './notes';
import { nameOfQueue, type Place, type QueueOffset, type Reading, type Shortened } from './reading';
import type { Settings } from './settings';
import { Subscribed, type Wanted } from './subscribed';

export class Instance {
  readonly group: string;
  readonly name: string;
  readonly settings: Settings;
  readonly #native: Native;
  readonly #clock: Clock;
  #reading: Reading | undefined;
  #reads: InstanceNote['reads'];
  /** Commits that were stored as the end of their queue, by queue. */
  readonly #shortened = new Map<string, Shortened>();
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

  /** Replaces an earlier subscription; by one to no topic it is given up. */
  async subscribe(wanted: Wanted, signal: AbortSignal): Promise<void> {
    if (this.#reading instanceof Assigned) throw exclusive();
    if ('topics' in wanted && wanted.topics.length === 0) return this.stop(true, signal);
    const reading = new Subscribed(this.#parts(), wanted);
    await this.#reading?.stop(true, signal);
    this.#reading = undefined;
    await reading.start(signal);
    this.#reading = reading;
    this.#reads = wanted;
  }

  /** Replaces an earlier assignment; by one of no partition it is given up. */
  async assign(places: readonly Place[], signal: AbortSignal): Promise<void> {
    if (this.#reading instanceof Subscribed) throw exclusive();
    if (places.length === 0) return this.stop(true, signal);
    const reading = new Assigned(this.#parts(), places);
    await this.#reading?.stop(true, signal);
    await reading.start(signal);
    this.#reading = reading;
    this.#reads = { assigned: places };
  }

  /** Commits for its client. `beyond`: see Reading.commit. Throws 409 when it reads nothing. */
  async commit(offsets: readonly QueueOffset[], beyond: number, signal: AbortSignal): Promise<void> {
    if (!this.#reading) throw illegalState('The consumer instance is neither subscribed nor assigned');
    for (const one of await this.#reading.commit(offsets, beyond, signal))
      this.#shortened.set(nameOfQueue(one.at), one);
  }

  /** Committed offset as its client is told: that of its own commit, as long as that commit is what is stored. */
  toldOffset({ nextOffset, ...queue }: QueueOffset): number {
    const own = this.#shortened.get(nameOfQueue(queue));
    return own?.stored === nextOffset ? own.at.nextOffset : nextOffset;
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

const exclusive = () => illegalState('Subscription to topics, partitions and pattern are mutually exclusive');
