/**
 * How a front gets something stored by one of several brokers. What has no place of its own goes to each broker in turn,
 * and elsewhere when one surely did not write it; what has a home goes there or nowhere. An outcome that nobody knows is
 * told and never repeated elsewhere: the message might be stored twice.
 */
import { delay } from '../../src/base/clock';
import { GantryError } from '../../src/base/errors';
import type { Avoidance } from '../../src/cluster/avoidance';
import { withDeadline } from '../../src/cluster/deadline';
import { rendezvous } from '../../src/cluster/rendezvous';
import { writable } from '../../src/broker/topic';
import type { TopicRoute } from '../../src/nameserver/route';
import type { Front } from './front';
import { refusedBeforeWriting, type PeerAnswer } from './peer';

/** Longest time for all tries of a send together (RocketMQ's is 3 s for each). */
export const SEND_MS = 10_000;
/** A try has at least so long: more than a connection may take to be made, so that what was never sent is told apart. */
const LEAST_TRY_MS = 2500;
/** How long a home that refuses connections is tried again: so long takes a broker to restart. */
const PATIENCE_MS = 3000;
/** The first pause between two tries; each is twice the one before. */
const PAUSE_MS = 100;

/** Asks one broker to store it. Fails as Peer.call does. */
export type Ask = (broker: string, signal: AbortSignal) => Promise<PeerAnswer>;

export class Sending {
  readonly #front: Front;
  readonly #avoidance: Avoidance;
  /** Whose turn it is; a route that was asked anew begins anywhere. */
  readonly #turns = new WeakMap<TopicRoute, { next: number }>();

  constructor(parts: { front: Front; avoidance: Avoidance }) {
    this.#front = parts.front;
    this.#avoidance = parts.avoidance;
  }

  /** Sends what has neither queue nor messageGroup: with an Idempotency-Key to the key's home, else to anybody. */
  async send(topic: string, key: string | undefined, signal: AbortSignal, ask: Ask): Promise<PeerAnswer> {
    if (key === undefined) return this.anywhere(topic, signal, ask);
    return this.at(homeOf(key, await this.#front.fleet.brokersOf(topic)), true, signal, ask);
  }

  /**
   * The answer of the first broker that stores it or finds fault with it; when all refuse, one of their refusals.
   * Throws SERVICE_NOT_AVAILABLE (nothing was stored) and OUTCOME_UNKNOWN.
   */
  async anywhere(topic: string, signal: AbortSignal, ask: Ask): Promise<PeerAnswer> {
    const { clock, fleet } = this.#front;
    const end = clock.monotonic() + SEND_MS;
    const tried = new Set<string>();
    let refusal: PeerAnswer | GantryError = nobodyTakes(topic);
    for (;;) {
      const untried = this.#order(await fleet.route(topic)).filter((broker) => !tried.has(broker));
      const [broker] = untried;
      const left = end - clock.monotonic();
      if (broker === undefined || left < LEAST_TRY_MS) return answerOf(refusal);
      tried.add(broker);
      const ms = Math.max(left / untried.length, LEAST_TRY_MS);
      const outcome = await this.#try(broker, { ms, keyed: false }, signal, ask);
      if (!(outcome instanceof GantryError) && !nothingDone(outcome)) return outcome;
      // That one broker has no such topic says less than why another one takes nothing.
      if (outcome instanceof GantryError || refusedBeforeWriting(outcome) || tried.size === 1) refusal = outcome;
    }
  }

  /**
   * The answer of this broker and no other. `keyed`: one that restarts is worth waiting for, because repeating stores
   * nothing twice; one that hung is not, and is refused soon (see Patience.send).
   */
  async at(broker: string, keyed: boolean, signal: AbortSignal, ask: Ask): Promise<PeerAnswer> {
    const { clock } = this.#front;
    const start = clock.monotonic();
    for (let pause = PAUSE_MS; ; pause *= 2) {
      const ms = start + SEND_MS - clock.monotonic();
      const outcome = await this.#try(broker, { ms, keyed }, signal, ask);
      const restarting = outcome instanceof GantryError || outcome.code === 'STARTING';
      if (!restarting) return outcome;
      if (outcome instanceof GantryError && this.#front.patience.isSilent(broker)) throw isAway(broker, outcome);
      if (!keyed || clock.monotonic() + pause > start + PATIENCE_MS)
        return answerOf(outcome instanceof GantryError ? isAway(broker, outcome) : outcome);
      await delay(clock, pause, signal);
    }
  }

  /** The brokers that may take a message of the topic, the one whose turn it is first. */
  #order(route: TopicRoute): string[] {
    const all = mastersOf(route);
    let turn = this.#turns.get(route);
    if (!turn) this.#turns.set(route, (turn = { next: this.#front.chance.below(Math.max(1, all.length)) }));
    const first = turn.next++ % Math.max(1, all.length);
    return this.#avoidance.ordered([...all.slice(first), ...all.slice(0, first)]);
  }

  /** An answer, or SERVICE_NOT_AVAILABLE: it was never sent. Throws OUTCOME_UNKNOWN, and why the client's call ended. */
  async #try(
    broker: string,
    { ms, keyed }: { readonly ms: number; readonly keyed: boolean },
    signal: AbortSignal,
    ask: Ask,
  ): Promise<PeerAnswer | GantryError> {
    const { clock, fleet } = this.#front;
    const started = clock.monotonic();
    let own = signal;
    try {
      const answer = await withDeadline(clock, ms, signal, (within) => ask(broker, (own = within)));
      this.#note(broker, answer, clock.monotonic() - started);
      return answer;
    } catch (error) {
      signal.throwIfAborted();
      const code = error instanceof GantryError ? error.code : undefined;
      if (code === 'SERVICE_NOT_AVAILABLE') {
        this.#avoidance.unreachable(broker);
        return error as GantryError;
      }
      if (code !== 'OUTCOME_UNKNOWN' && !own.aborted) throw error;
      this.#avoidance.failed(broker);
      fleet.doubt();
      throw nobodyKnows(broker, keyed);
    }
  }

  #note(broker: string, answer: PeerAnswer, ms: number): void {
    const { code } = answer;
    if (code !== undefined && OLD_ROUTE.has(code)) this.#front.fleet.doubt();
    if (refusedBeforeWriting(answer) && code !== 'QUEUE_ELSEWHERE') this.#avoidance.failed(broker);
    else this.#avoidance.answered(broker, ms);
  }
}

/** Refusals by which a front learns that what it knows of the brokers is old. */
const OLD_ROUTE = new Set(['TOPIC_NOT_FOUND', 'QUEUE_READ_ONLY', 'NOT_MASTER', 'QUEUE_ELSEWHERE']);

/** The broker that a key belongs to, alive or not. */
export const homeOf = (key: string, brokers: readonly string[]): string => rendezvous(key, brokers)[0]!;

/** Refused before anything was written: somebody else may store it. */
const nothingDone = (answer: PeerAnswer): boolean => refusedBeforeWriting(answer) || answer.code === 'TOPIC_NOT_FOUND';

/** Masters that may be written to; when there are none, any master: it says why. */
function mastersOf({ brokers, queues }: TopicRoute): string[] {
  const masters = new Set(brokers.filter(({ addresses }) => addresses['0'] !== undefined).map(({ broker }) => broker));
  const here = queues.filter(({ broker }) => masters.has(broker));
  const open = here.filter(({ permission }) => writable(permission));
  return (open.length > 0 ? open : here).map(({ broker }) => broker);
}

function answerOf(outcome: PeerAnswer | GantryError): PeerAnswer {
  if (outcome instanceof GantryError) throw outcome;
  return outcome;
}

const LATER = { retryAfterMs: 1000 };

const nobodyTakes = (topic: string): GantryError =>
  new GantryError(
    'SERVICE_NOT_AVAILABLE',
    `no broker of topic ${topic} can take messages now; nothing was stored: send again later`,
    LATER,
  );

const isAway = (broker: string, { message }: GantryError): GantryError =>
  new GantryError(
    'SERVICE_NOT_AVAILABLE',
    `broker ${broker} is away or does not answer, and this belongs there: nothing was stored, send again later (${message})`,
    LATER,
  );

const nobodyKnows = (broker: string, keyed: boolean): GantryError =>
  new GantryError(
    'OUTCOME_UNKNOWN',
    keyed
      ? `broker ${broker} gave no answer: send again with the same Idempotency-Key, which stores nothing twice`
      : `broker ${broker} gave no answer, and may have stored it: only a send with an Idempotency-Key can be repeated safely`,
    { retryable: keyed },
  );
