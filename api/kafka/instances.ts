/**
 * The consumer instances of all fronts, as one front sees them. Each is in the memory of one front; a note that all can
 * read says of which. A call that comes elsewhere is passed on; when the front of an instance does not answer any more,
 * whoever was asked goes on with it, from what is committed.
 */
import type { Chance } from '../../src/base/chance';
import type { Clock } from '../../src/base/clock';
import { GantryError } from '../../src/base/errors';
import { Chore } from '../../src/base/life';
import type { Log } from '../../src/base/log';
import { instanceExists, instanceMissing, KafkaFault } from './faults';
import { Instance } from './instance';
import type { Native } from './native';
import type { InstanceNote, InstanceNotes } from './notes';
import { canBe, type Settings } from './settings';

export interface InstancesParts {
  readonly native: Native;
  readonly notes: InstanceNotes;
  readonly clock: Clock;
  readonly chance: Chance;
  readonly log: Log;
  /** host:port of this front, once it listens. */
  readonly address: () => string;
}

/** Silence after which an instance ends: what Confluent's and Redpanda's have. */
const IDLE_MS = 5 * 60_000;
/** Between two looks at all of them: for their end, their lease, and topics that came. */
const CARE_MS = 10_000;
/** A note outlives its instance a little, so that one that moves is not lost meanwhile. */
const NOTE_MS = IDLE_MS + 60_000;
/** Notes are renewed so often. */
const RENEW_MS = 60_000;
/** At one front; each is a few kilobytes and a lease. */
const MOST = 10_000;

export class Instances {
  readonly #parts: InstancesParts;
  readonly #instances = new Map<string, { readonly instance: Instance; notedAt: number }>();
  readonly #chore: Chore;
  /** Takeovers under way: two calls must not make two of one. */
  readonly #coming = new Map<string, Promise<Instance>>();

  constructor(parts: InstancesParts) {
    this.#parts = parts;
    this.#chore = new Chore({
      clock: parts.clock,
      everyMs: CARE_MS,
      runOnce: (signal) => this.care(signal),
      onError: (error) => parts.log.warn({ err: error }, 'consumer instances could not be looked after'),
    });
  }

  start(): Promise<void> {
    return this.#chore.start();
  }

  stop(): Promise<void> {
    return this.#chore.stop();
  }

  /** Throws 409 when there is one of that name. */
  async create(group: string, wanted: string | undefined, settings: Settings, signal: AbortSignal): Promise<Instance> {
    const { native, clock, notes, chance } = this.#parts;
    const name = wanted ?? `rest-consumer-${chance.bytes(16).toString('hex')}`;
    if (this.#instances.size >= MOST)
      throw new KafkaFault(503, 50301, `There are ${MOST} consumer instances here already.`);
    const key = keyOf(group, name);
    if (this.#instances.has(key) || (await notes.get(group, name, signal))) throw instanceExists();
    if (this.#instances.has(key)) throw instanceExists();
    const instance = new Instance(native, clock, group, name, settings);
    this.#instances.set(key, { instance, notedAt: -Infinity });
    await this.note(instance, signal);
    return instance;
  }

  /** False once it has ended. */
  has(instance: Instance): boolean {
    return this.#instances.get(keyOf(instance.group, instance.name))?.instance === instance;
  }

  /** The instance if it is here, or the address of the front that has it. Throws 404. */
  async find(group: string, name: string, signal: AbortSignal): Promise<Instance | string> {
    const here = this.#instances.get(keyOf(group, name))?.instance;
    if (here) return here;
    const note = canBe(name) ? await this.#parts.notes.get(group, name, signal) : undefined;
    if (!note) throw instanceMissing();
    // It was here before this process began.
    return note.front === this.#parts.address() ? this.takeOver(group, name, signal) : note.front;
  }

  /** Goes on with an instance whose front has gone. */
  async takeOver(group: string, name: string, signal: AbortSignal): Promise<Instance> {
    const key = keyOf(group, name);
    const here = this.#instances.get(key)?.instance;
    if (here) return here;
    let coming = this.#coming.get(key);
    if (!coming) {
      coming = this.#adopt(group, name, signal).finally(() => this.#coming.delete(key));
      this.#coming.set(key, coming);
    }
    return coming;
  }

  async #adopt(group: string, name: string, signal: AbortSignal): Promise<Instance> {
    const { native, clock, notes, log } = this.#parts;
    const note = await notes.get(group, name, signal);
    if (!note) throw instanceMissing();
    const instance = new Instance(native, clock, group, name, note.settings);
    await instance.resume(note.reads, signal);
    this.#instances.set(keyOf(group, name), { instance, notedAt: -Infinity });
    await this.note(instance, signal);
    log.info({ group, instance: name, from: note.front }, 'a consumer instance was taken over');
    return instance;
  }

  /** Tells the other fronts what the instance reads now. */
  async note(instance: Instance, signal: AbortSignal): Promise<void> {
    const { notes, clock, address } = this.#parts;
    const { group, name, settings, reads } = instance;
    const note: InstanceNote = { front: address(), settings, ...(reads ? { reads } : {}) };
    await notes.put(group, name, note, NOTE_MS, signal);
    const kept = this.#instances.get(keyOf(group, name));
    if (kept?.instance === instance) kept.notedAt = clock.monotonic();
  }

  async end({ group, name }: Instance, signal: AbortSignal): Promise<void> {
    this.#instances.delete(keyOf(group, name));
    await this.#parts.notes.delete(group, name, signal);
  }

  /** Ends those that are idle, and keeps the others alive. What fails for one does not concern the others. */
  async care(signal: AbortSignal): Promise<void> {
    for (const { instance, notedAt } of [...this.#instances.values()]) {
      try {
        if (instance.idleMs >= IDLE_MS) await this.#expire(instance, signal);
        else if (await this.#isLost(instance, notedAt, signal))
          this.#instances.delete(keyOf(instance.group, instance.name));
        else await instance.care(signal);
      } catch (error) {
        if (signal.aborted) throw error;
        const { group, name } = instance;
        const level = error instanceof GantryError || error instanceof KafkaFault ? 'debug' : 'warn';
        this.#parts.log[level]({ err: error, group, instance: name }, 'a consumer instance was not looked after');
      }
    }
  }

  /** What it was given and has not committed is given again: whoever left it without a word may not have handled it. */
  async #expire(instance: Instance, signal: AbortSignal): Promise<void> {
    await this.end(instance, signal);
    await instance.serve(() => instance.stop(false, signal));
  }

  /** Another front went on with it, because this one could not be reached for a while. Renews the note if not. */
  async #isLost(instance: Instance, notedAt: number, signal: AbortSignal): Promise<boolean> {
    const { notes, address, clock } = this.#parts;
    if (clock.monotonic() - notedAt < RENEW_MS) return false;
    const note = await notes.get(instance.group, instance.name, signal);
    if (note && note.front !== address()) return true;
    await this.note(instance, signal);
    return false;
  }
}

const keyOf = (group: string, name: string): string => `${group}/${name}`;
