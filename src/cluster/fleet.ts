/**
 * What a front knows of the brokers: who lives, where, and which have a topic. All of it is the NameServers' word, kept
 * for a while and asked again at once when it is missing or turned out wrong. What a front knows may be old; a broker
 * that is asked for what it does not have says so, and then the front asks anew. So nothing here decides what is true.
 */
import type { Clock } from '../base/clock';
import { GantryError } from '../base/errors';
import { silentLog, type Log } from '../base/log';
import { brokersIn } from '../broker/partitions';
import type { TopicRoute } from '../nameserver/route';
import { byName, type BrokersSeen, type Routes } from './routes';

/** RocketMQ's pollNameServerInterval. */
const FRESH_MS = 30_000;
/** After a failure, or while nobody can tell for sure, everything is asked again, but not more often. */
const RENEW_MS = 500;
/** Never believed for longer than `RENEW_MS`. */
const UNSURE = Infinity;
/** What was not found is looked for again, but not more often. */
const MISS_MS = 20;
/** Topics whose routes are kept; the one that was not asked for the longest goes first. */
const ROUTES = 20_000;
/** A broker that is missing for longer was taken away for good, milliseconds: one day. */
const MISSED_MS = 24 * 3_600_000;

/** A broker group that has a live member. */
export interface LiveBroker {
  readonly name: string;
  readonly cluster: string;
  /** host:port of its master; undefined while it has none. */
  readonly address: string | undefined;
  /** The part of ids by which its messages and transactions are told: 16 hexadecimal digits. */
  readonly idMark: string;
  /** When a NameServer heard one of its members last, by that NameServer's wall clock. */
  readonly lastHeartbeatTimestamp: number;
}

interface Kept<T> {
  readonly value: Promise<T>;
  /** When it was asked for, monotonic, and after how many doubts. */
  readonly at: number;
  readonly doubts: number;
  /**
   * Something is missing since then (monotonic), or UNSURE: asked again before its time, at first after RENEW_MS, then
   * after as long as it has been missing. Undefined: nothing is known to be missing.
   */
  lackingSince?: number | undefined;
}

export class Fleet {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #routes: Routes;
  readonly #freshMs: number;
  readonly #kept = new Map<string, Kept<TopicRoute>>();
  #brokers: Kept<BrokersSeen> | undefined;
  /** All brokers that were ever seen, by the mark of their ids: one that is away has not taken its messages along. */
  readonly #marks = new Map<string, LiveBroker>();
  /** Brokers that had a master when they were listed last and have none now, with the monotonic time of the first such answer. */
  readonly #missing = new Map<string, number>();
  /** Names of the brokers that have a master, by the last answer. */
  #live: ReadonlySet<string> = new Set();
  /** Rises with each doubt: what was asked for before it is not believed any more. */
  #doubts = 0;
  #doubtedAt = -Infinity;

  /** `freshMs`: how long what was said is believed. The log gets a line when a broker comes or goes. */
  constructor(parts: { clock: Clock; routes: Routes; freshMs?: number; log?: Log }) {
    this.#clock = parts.clock;
    this.#log = parts.log ?? silentLog;
    this.#routes = parts.routes;
    this.#freshMs = parts.freshMs ?? FRESH_MS;
  }

  /** All live brokers in the order of their names. Throws SERVICE_NOT_AVAILABLE when no NameServer answers. */
  async brokers(): Promise<readonly LiveBroker[]> {
    return (await this.#seen()).brokers;
  }

  /** The same, asked for now: for who must not miss one that has just come. */
  async brokersNow(): Promise<readonly LiveBroker[]> {
    return (await this.seenNow()).brokers;
  }

  /** The same, and whether there may be more. */
  seenNow(): Promise<BrokersSeen> {
    if (this.#brokers) this.#brokers = { ...this.#brokers, at: -Infinity };
    return this.#seen();
  }

  /** The same, at most `RENEW_MS` old: for checks that others repeat as often as they like. */
  brokersRecently(): Promise<readonly LiveBroker[]> {
    const kept = this.#brokers;
    return kept && this.#clock.monotonic() - kept.at >= RENEW_MS ? this.brokersNow() : this.brokers();
  }

  #seen(): Promise<BrokersSeen> {
    if (!this.#brokers || !this.#isGood(this.#brokers)) {
      const kept = this.#keep(this.#lookAround(this.#brokers?.value));
      kept.value.then(
        ({ complete, brokers }) => {
          this.#note(brokers, kept.at);
          kept.lackingSince = !complete || !brokers.some(hasMaster) ? UNSURE : this.#missingSince();
        },
        () => void (this.#brokers === kept && (this.#brokers = undefined)),
      );
      this.#brokers = kept;
    }
    return this.#brokers.value;
  }

  /** Names of the brokers that have a master by the last answer, and of those that had one within a day and have none now. */
  standing(): { readonly live: readonly string[]; readonly missing: readonly string[] } {
    const since = this.#clock.monotonic() - MISSED_MS;
    return {
      live: [...this.#live],
      missing: [...this.#missing].filter(([, at]) => at > since).map(([name]) => name),
    };
  }

  /** Notes which brokers are live and which are missing, from the answer to a question asked at `at`. */
  #note(brokers: readonly LiveBroker[], at: number): void {
    for (const broker of brokers) this.#marks.set(broker.idMark, broker);
    const before = this.#live;
    this.#live = new Set(brokers.filter(hasMaster).map(({ name }) => name));
    for (const { name, address } of brokers.filter(hasMaster)) {
      this.#missing.delete(name);
      if (!before.has(name)) this.#log.info({ broker: name, address }, 'broker is there');
    }
    for (const name of before) {
      if (this.#live.has(name)) continue;
      this.#missing.set(name, at);
      this.#log.warn({ broker: name }, 'broker is gone');
    }
  }

  /** When the newest of the missing brokers went: one that is gone for good is asked for less and less. */
  #missingSince(): number | undefined {
    return this.#missing.size === 0 ? undefined : Math.max(...this.#missing.values());
  }

  /** When no NameServer can be asked, or none can know yet, what was known goes on being used. */
  async #lookAround(before: Promise<BrokersSeen> | undefined): Promise<BrokersSeen> {
    const known = await before?.catch(() => undefined);
    try {
      const seen = await this.#routes.brokers();
      return seen.complete || !known ? seen : { complete: false, brokers: joined(known.brokers, seen.brokers) };
    } catch (error) {
      if (!known) throw error;
      return { ...known, complete: false };
    }
  }

  /** A live broker by its name; asks again before it says no. Throws BROKER_NOT_FOUND. */
  async broker(name: string): Promise<LiveBroker> {
    const found = named(await this.brokers(), name) ?? named(await this.#again(), name);
    if (found) return found;
    throw new GantryError('BROKER_NOT_FOUND', `there is no live broker ${name}: GET /v1/brokers lists those that are`);
  }

  /** The broker whose messages and transactions have ids that begin so, alive or not; undefined: none that was ever seen. */
  async brokerOfId(id: string): Promise<LiveBroker | undefined> {
    const mark = id.slice(0, 16).toUpperCase();
    const of = (brokers: readonly LiveBroker[]) => brokers.find(({ idMark }) => idMark === mark);
    const found = of(await this.brokers()) ?? of(await this.#again());
    if (found) return found;
    const seen = this.#marks.get(mark);
    return seen && { ...seen, address: undefined };
  }

  /** Where a topic is. Throws what Routes.of throws: an unknown topic is never remembered as such. */
  route(topic: string): Promise<TopicRoute> {
    const known = this.#kept.get(topic);
    if (known && this.#isGood(known)) return known.value;
    const value = this.#routes.of(topic, NEVER).catch((error: unknown) => {
      // Only a NameServer's word that there is none is believed over what was known.
      const unknown = error instanceof GantryError && error.code === 'TOPIC_NOT_FOUND';
      if (!known || unknown) throw error;
      kept.lackingSince = UNSURE;
      return known.value;
    });
    const kept = this.#keep(value);
    value.then(
      (found) => {
        if (hasAllBrokers(found)) return;
        const before = known?.lackingSince;
        kept.lackingSince ??= before === undefined || before === UNSURE ? kept.at : before;
      },
      () => void (this.#kept.get(topic) === kept && this.#kept.delete(topic)),
    );
    this.#kept.delete(topic);
    this.#kept.set(topic, kept);
    if (this.#kept.size > ROUTES) this.#kept.delete(this.#kept.keys().next().value!);
    return value;
  }

  /** The same, asked for now: for who must see what was just changed elsewhere. */
  routeNow(topic: string): Promise<TopicRoute> {
    const known = this.#kept.get(topic);
    if (known) this.#kept.set(topic, { ...known, at: -Infinity });
    return this.route(topic);
  }

  /** Names of the brokers that hold a topic, in the order of its partitions; also those that are away. */
  async brokersOf(topic: string): Promise<string[]> {
    return brokersIn((await this.route(topic)).partitions);
  }

  /** Names the present state of what is known; see `doubt`. */
  get edition(): number {
    return this.#doubts;
  }

  /**
   * Something that was known is not so: everything is asked for again when it is needed next. With the edition that was
   * gone by. False when that is the newest one and was asked for just now: asking again would bring nothing else.
   */
  doubt(edition = this.#doubts): boolean {
    if (edition !== this.#doubts) return true;
    const now = this.#clock.monotonic();
    if (now - this.#doubtedAt < RENEW_MS) return false;
    this.#doubtedAt = now;
    this.#doubts++;
    return true;
  }

  /** For what was not found: it may have come since. */
  #again(): Promise<readonly LiveBroker[]> {
    const kept = this.#brokers;
    if (kept && this.#clock.monotonic() - kept.at >= MISS_MS) this.#brokers = { ...kept, at: -Infinity };
    return this.brokers();
  }

  #keep<T>(value: Promise<T>): Kept<T> {
    return { value, at: this.#clock.monotonic(), doubts: this.#doubts };
  }

  #isGood({ at, doubts, lackingSince }: Kept<unknown>): boolean {
    const believedMs = lackingSince === undefined ? this.#freshMs : Math.max(RENEW_MS, at - lackingSince);
    return doubts === this.#doubts && this.#clock.monotonic() - at < Math.min(believedMs, this.#freshMs);
  }
}

/** What is asked for here serves everybody who waits for it: nobody's going away ends it. */
const NEVER = new AbortController().signal;

const hasMaster = ({ address }: LiveBroker): boolean => address !== undefined;

/** Whether every broker of the topic's partitions is registered. */
const hasAllBrokers = ({ partitions, brokers }: TopicRoute): boolean =>
  brokersIn(partitions).every((name) => brokers.some(({ broker }) => broker === name));

const named = (brokers: readonly LiveBroker[], name: string): LiveBroker | undefined =>
  brokers.find((broker) => broker.name === name);

/** By name; where both have one, the newer. */
function joined(older: readonly LiveBroker[], newer: readonly LiveBroker[]): LiveBroker[] {
  return [...older.filter(({ name }) => !named(newer, name)), ...newer].sort(byName);
}
