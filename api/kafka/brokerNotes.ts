/**
 * Notes about instances at all live brokers: as long as one of them that was told lives, any front finds the instance.
 * Of what they answer the newest counts.
 */
import type { Clock } from '../../src/base/clock';
import { GantryError } from '../../src/base/errors';
import { withDeadline } from '../../src/cluster/deadline';
import type { Fleet } from '../../src/cluster/fleet';
import type { Peer } from '../front/peer';
import type { InstanceNote, InstanceNotes } from './notes';

export interface BrokerNotesParts {
  readonly clock: Clock;
  readonly fleet: Pick<Fleet, 'brokers'>;
  readonly peer: (broker: string) => Peer;
}

/** A broker that hangs is not waited for: the others know. */
const CALL_MS = 2000;
/** Names of which the last version is remembered here. */
const KNOWN = 20_000;

interface Kept {
  readonly version: number;
  /** Empty: there is none. */
  readonly value: string;
}

export class BrokerNotes implements InstanceNotes {
  readonly #parts: BrokerNotesParts;
  /** Clocks of fronts differ: what was seen is older than what is written behind it, whatever they say. */
  readonly #versions = new Map<string, number>();

  constructor(parts: BrokerNotesParts) {
    this.#parts = parts;
  }

  async get(group: string, name: string, signal: AbortSignal): Promise<InstanceNote | undefined> {
    const note = nameOf(group, name);
    const found = await this.#atAll(signal, async (peer, own) => {
      const answer = await peer.call('getNote', { path: { note }, query: {} }, own);
      return answer.orThrow().json<Kept>();
    });
    const newest = found.reduce((best, one) => (one.version > best.version ? one : best));
    this.#remember(note, newest.version);
    return newest.value === '' ? undefined : (JSON.parse(newest.value) as InstanceNote);
  }

  put(group: string, name: string, note: InstanceNote, ttlMs: number, signal: AbortSignal): Promise<void> {
    return this.#put(nameOf(group, name), JSON.stringify(note), ttlMs, signal);
  }

  delete(group: string, name: string, signal: AbortSignal): Promise<void> {
    return this.#put(nameOf(group, name), '', TAKEN_BACK_MS, signal);
  }

  async #put(note: string, value: string, ttlMs: number, signal: AbortSignal): Promise<void> {
    if (value.length > MAX_CHARACTERS)
      throw new GantryError(
        'LIMIT_EXCEEDED',
        'a consumer instance reads so many topics that no other server could go on with it',
      );
    const version = Math.max(this.#parts.clock.now(), (this.#versions.get(note) ?? 0) + 1);
    this.#remember(note, version);
    const body = { value, version, ttlMs };
    await this.#atAll(signal, async (peer, own) => {
      (await peer.call('putNote', { path: { note }, query: {} as never, body }, own)).orThrow();
    });
  }

  #remember(note: string, version: number): void {
    this.#versions.delete(note);
    this.#versions.set(note, version);
    if (this.#versions.size > KNOWN) this.#versions.delete(this.#versions.keys().next().value!);
  }

  /** What those answered that could; throws when none could. */
  async #atAll<T>(signal: AbortSignal, ask: (peer: Peer, own: AbortSignal) => Promise<T>): Promise<T[]> {
    const { clock, fleet, peer } = this.#parts;
    const brokers = (await fleet.brokers()).filter(({ address }) => address !== undefined);
    const answers = await Promise.allSettled(
      brokers.map(({ name }) => withDeadline(clock, CALL_MS, signal, (own) => ask(peer(name), own))),
    );
    signal.throwIfAborted();
    const good = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []));
    if (good.length > 0) return good;
    throw new GantryError('SERVICE_NOT_AVAILABLE', 'no broker can be asked where a consumer instance is', {
      retryAfterMs: 1000,
    });
  }
}

/** Longer than any note that may come late. */
const TAKEN_BACK_MS = 10 * 60_000;
const MAX_CHARACTERS = 32_768;

/** Neither has a `+`. */
const nameOf = (group: string, name: string): string => `${group}+${name}`;
