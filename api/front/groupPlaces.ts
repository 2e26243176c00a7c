/**
 * On which brokers a group is. It is on every broker of the topics that it reads, so any broker that knows it tells its
 * topics, and their partitions tell the brokers. That is remembered for a while: whoever is asked in vain says so.
 */
import { GantryError } from '../../src/base/errors';
import type { FilterSpec } from '../../src/broker/filter';
import { deadLetterTopicOf, retryTopicOf } from '../../src/broker/group';
import { brokersIn } from '../../src/broker/partitions';
import type { TopicRoute } from '../../src/nameserver/route';
import { isAway } from '../homes';
import type { Answer } from '../operation';
import { PeerAnswer, type Asking } from './peer';
import { noBroker, type Rounds } from './rounds';

export interface Places {
  /** The broker that decides about the group. */
  readonly home: string;
  /** In the order of the topics' partitions, the home first. At least one; also those that are away. */
  readonly brokers: readonly string[];
  /** Names of the topics that it reads, the first one first. */
  readonly topics: readonly string[];
}

/** What is read of a group. */
interface GroupView {
  readonly subscriptions: readonly { readonly topic: string; readonly filter: FilterSpec }[];
}

/** Topics that a group reads, as one broker reports them. */
interface Reading {
  readonly broker: string;
  readonly topics: readonly string[];
}

interface Kept {
  readonly value: Promise<Reading>;
  readonly at: number;
}

/** As long as a route is believed. */
const FRESH_MS = 30_000;
/** Groups whose places are kept; the one that was not looked up for the longest goes first. */
const KEPT = 20_000;
/** What is looked up serves everybody who waits for it: nobody's going away ends it. */
const NEVER = new AbortController().signal;

export class GroupPlaces {
  readonly #rounds: Rounds;
  readonly #kept = new Map<string, Kept>();

  constructor(rounds: Rounds) {
    this.#rounds = rounds;
  }

  /** Throws GROUP_NOT_FOUND when all live brokers say so; SERVICE_NOT_AVAILABLE when one that may know it is silent. */
  of(call: Asking, group: string): Promise<Places> {
    const now = this.#rounds.front.clock.monotonic();
    const known = this.#kept.get(group);
    if (known && now - known.at < FRESH_MS) return this.#places(known.value);
    const value = this.#find(call, group);
    const kept: Kept = { value, at: now };
    value.catch(() => void (this.#kept.get(group) === kept && this.#kept.delete(group)));
    this.#kept.delete(group);
    this.#kept.set(group, kept);
    if (this.#kept.size > KEPT) this.#kept.delete(this.#kept.keys().next().value!);
    return this.#places(value);
  }

  /** Brokers that may hold the group's own topics (its retries, its dead letters). Throws TOPIC_NOT_FOUND. */
  async brokersOf(group: string, call: Asking): Promise<readonly string[]> {
    const places = await this.ifAny(call, group);
    if (places) return places.brokers;
    const own = `${retryTopicOf(group)} and ${deadLetterTopicOf(group)}`;
    throw new GantryError('TOPIC_NOT_FOUND', `there is no group ${group}, and so there are no topics ${own}`);
  }

  /** The same; undefined for a group that does not exist. */
  async ifAny(call: Asking, group: string): Promise<Places | undefined> {
    try {
      return await this.of(call, group);
    } catch (error) {
      if (error instanceof GantryError && error.code === 'GROUP_NOT_FOUND') return undefined;
      throw error;
    }
  }

  /**
   * The same, before a group is created: a broker that is away does not hold that up. A living broker of the topic that
   * the group reads knows the group if it exists.
   */
  async ifAnyLives(call: Asking, group: string): Promise<Places | undefined> {
    try {
      return await this.ifAny(call, group);
    } catch (error) {
      if (error instanceof GantryError && isAway(error)) return undefined;
      throw error;
    }
  }

  /** It was changed, or is not where it was. */
  forget(group: string): void {
    this.#kept.delete(group);
  }

  /** Answers by where the group is; once more when that turns out to be old. Nothing was done then. */
  async serve(call: Asking, group: string, work: (places: Places) => Promise<Answer>): Promise<Answer> {
    const places = await this.of(call, group);
    try {
      const answer = await work(places);
      if (!saysNotFound(answer)) return answer;
    } catch (error) {
      if (!(error instanceof GantryError && error.code === 'GROUP_NOT_FOUND')) throw error;
    }
    this.forget(group);
    return work(await this.of(call, group));
  }

  async #find(call: Asking, group: string): Promise<Reading> {
    const { broker, view } = await this.#anyThatKnows(call, group, await this.#rounds.front.liveBrokers());
    return { broker, topics: view.subscriptions.map(({ topic }) => topic) };
  }

  /** Brokers come and go with the topics' partitions: routes are known more newly than groups. */
  async #places(reading: Promise<Reading>): Promise<Places> {
    const { broker, topics } = await reading;
    const routes = await Promise.all(topics.map((topic) => this.#routeOf(topic)));
    const brokers = new Set(routes.flatMap((route) => (route ? brokersIn(route.partitions) : [])));
    const home = routes[0]?.partitions[0]?.broker ?? broker;
    return { home, brokers: [home, ...[...brokers].filter((name) => name !== home)], topics };
  }

  /** The first that answers: what it says of the topics is enough to find the others. */
  async #anyThatKnows(
    call: Asking,
    group: string,
    names: readonly string[],
  ): Promise<{ broker: string; view: GroupView }> {
    const asked = { path: { group }, query: {}, headers: {} };
    const asking = names.map(async (broker) => {
      const { front, patience } = this.#rounds;
      const peer = front.peer(broker, call);
      const answer = await patience.glance(broker, { signal: NEVER }, (own) => peer.call('getGroup', asked, own));
      return { broker, view: answer.orThrow().json<GroupView>() };
    });
    try {
      return await Promise.any(asking);
    } catch (error) {
      throw mostTelling((error as AggregateError).errors);
    }
  }

  async #routeOf(topic: string): Promise<TopicRoute | undefined> {
    try {
      return await this.#rounds.front.fleet.route(topic);
    } catch (error) {
      // Registered anew at this moment, or deleted.
      if (error instanceof GantryError && error.code === 'TOPIC_NOT_FOUND') return undefined;
      throw error;
    }
  }
}

/** Who is silent may know it; otherwise what they say counts. */
function mostTelling(errors: readonly unknown[]): unknown {
  const coded = errors.filter((error) => error instanceof GantryError);
  if (coded.length < errors.length) return errors.find((error) => !(error instanceof GantryError));
  return coded.find(isAway) ?? coded[0] ?? noBroker();
}

/** Of a call that was passed on as it is, or of which each part says so. */
function saysNotFound({ status, text, body }: Answer): boolean {
  if (status !== 404) return false;
  const problem = text === undefined ? (body as { code?: string } | undefined) : new PeerAnswer(status, {}, text);
  return problem?.code === 'GROUP_NOT_FOUND';
}
