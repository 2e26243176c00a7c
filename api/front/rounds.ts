/** One question to several brokers at once, where one that is dead or hangs must not hold up the others. */
import { GantryError } from '../../src/base/errors';
import type { Patience } from '../../src/cluster/patience';
import { isAway } from '../homes';
import type { Answer, Call, OperationId } from '../operation';
import { STATUS } from '../problem';
import { askedOf, type Front } from './front';
import type { Asking, PeerAnswer, PeerRequest } from './peer';

/** For as long as its client waits. */
export type AskingNow = Asking & Pick<Call<OperationId>, 'signal'>;

/** What came of a round, by broker, in the order in which they were named. */
export interface Round {
  readonly answers: ReadonlyMap<string, PeerAnswer>;
  /** Refusals that are the broker's word. */
  readonly refusals: ReadonlyMap<string, GantryError>;
  /** Those that did not answer, cannot now (503), or were not asked, because they failed just before. */
  readonly away: ReadonlyMap<string, GantryError>;
}

export class Rounds {
  readonly front: Front;
  readonly patience: Patience;

  constructor(front: Front) {
    this.front = front;
    this.patience = front.patience;
  }

  /** Asks one broker, for as long as it deserves. `waitMs`: what it is asked to wait itself. Fails as Peer.call does. */
  ask<Op extends OperationId>(
    call: Asking,
    broker: string,
    operationId: Op,
    asked: PeerRequest<Op>,
    { signal, waitMs = 0 }: { readonly signal: AbortSignal; readonly waitMs?: number },
  ): Promise<PeerAnswer> {
    const peer = this.front.peer(broker, call);
    return this.patience.wait(broker, { waitMs, signal }, (own) => peer.call(operationId, asked, own));
  }

  /** Asks all that are worth waiting for. Rejects only with what is no broker's failure, such as the client's going away. */
  all<Op extends OperationId>(
    call: AskingNow,
    brokers: readonly string[],
    operationId: Op,
    asked: (broker: string) => PeerRequest<Op>,
  ): Promise<Round> {
    const { signal } = call;
    const ask: AskOne<Op> = (broker, request) => this.ask(call, broker, operationId, request, { signal });
    return round(brokers, this.patience.worthy(brokers), asked, ask);
  }

  /** Has all of them change something. One that is away costs little, and does it if it is back. */
  change<Op extends OperationId>(
    call: AskingNow,
    brokers: readonly string[],
    operationId: Op,
    asked: (broker: string) => PeerRequest<Op>,
  ): Promise<Round> {
    const ask: AskOne<Op> = (broker, request) => this.front.change(call, broker, operationId, request);
    return round(brokers, brokers, asked, ask);
  }

  /** The same as `all`, of those, too, that failed just before: for people, who want to know how it is now. */
  everybody<Op extends OperationId>(
    call: AskingNow,
    brokers: readonly string[],
    operationId: Op,
    asked: PeerRequest<Op>,
  ): Promise<Round> {
    return this.look(call, brokers, operationId, () => asked);
  }

  /** The same, with a question of its own for each. */
  look<Op extends OperationId>(
    call: AskingNow,
    brokers: readonly string[],
    operationId: Op,
    asked: (broker: string) => PeerRequest<Op>,
  ): Promise<Round> {
    const ask: AskOne<Op> = (broker, request) => this.front.look(call, broker, operationId, request);
    return round(brokers, brokers, asked, ask);
  }

  /**
   * What one of them says, the first of this order that can: the next is asked only when nothing was done before.
   * `passed`: statuses of who cannot. When none can, the silence of one weighs more than the word of another.
   */
  async inTurn<Op extends OperationId>(
    call: Call<Op>,
    brokers: readonly string[],
    passed: readonly number[] = CANNOT,
  ): Promise<Answer> {
    const { signal } = call;
    const id = call.operation.id as Op;
    const failures: GantryError[] = [];
    for (const broker of this.patience.ordered(brokers)) {
      const isQuestion = call.operation.method === 'get';
      // A question is not worth much waiting while others can be asked; a change is told to other brokers meanwhile.
      const asking = !isQuestion
        ? this.front.change(call, broker, id, askedOf(call), TELLING_MS)
        : brokers.length > 1
          ? this.ask(call, broker, id, askedOf(call), { signal })
          : this.front.ask(call, broker, signal);
      try {
        const answer = await asking;
        if (!passed.includes(answer.status)) return answer.asAnswer();
        failures.push(answer.failure());
      } catch (error) {
        if (!(error instanceof GantryError) || !passed.includes(STATUS[error.code])) throw error;
        failures.push(error);
      }
    }
    throw failures.find(isAway) ?? failures[0] ?? noBroker();
  }
}

/** Milliseconds in which a broker tells the others what it has decided, also while one of them hangs. */
const TELLING_MS = 5000;

/** How one broker is asked. */
type AskOne<Op extends OperationId> = (broker: string, asked: PeerRequest<Op>) => Promise<PeerAnswer>;

/** Asks `those` of the brokers; the others count as away. */
async function round<Op extends OperationId>(
  brokers: readonly string[],
  those: readonly string[],
  asked: (broker: string) => PeerRequest<Op>,
  ask: AskOne<Op>,
): Promise<Round> {
  const outcomes = await Promise.all(
    brokers.map(async (broker) => (those.includes(broker) ? outcomeOf(ask(broker, asked(broker))) : leftAlone(broker))),
  );
  const answers = new Map<string, PeerAnswer>();
  const refusals = new Map<string, GantryError>();
  const away = new Map<string, GantryError>();
  brokers.forEach((broker, i) => {
    const outcome = outcomes[i]!;
    if (!(outcome instanceof GantryError)) answers.set(broker, outcome);
    else if (isAway(outcome)) away.set(broker, outcome);
    else refusals.set(broker, outcome);
  });
  return { answers, refusals, away };
}

/** The broker's answer, or why there is none. */
export async function outcomeOf(asking: Promise<PeerAnswer>): Promise<PeerAnswer | GantryError> {
  try {
    const answer = await asking;
    return answer.ok ? answer : answer.failure();
  } catch (error) {
    if (error instanceof GantryError) return error;
    throw error;
  }
}

/** The broker may have done what was asked. */
export const mayBeDone = ({ code }: GantryError): boolean => code === 'OUTCOME_UNKNOWN';

const leftAlone = (broker: string): GantryError =>
  new GantryError('SERVICE_NOT_AVAILABLE', `broker ${broker} failed just now and is left alone for a moment`, {
    retryAfterMs: 1000,
  });

/** For an answer that says whom it does not know of. */
export const namely = (unavailable: Iterable<string>): { unavailable?: string[] } => {
  const names = [...unavailable];
  return names.length > 0 ? { unavailable: names } : {};
};

/** Answers are good as soon as there is one; without any the round failed: by a broker's word, rather than by silence. */
export function answersOf({ answers, refusals, away }: Round): ReadonlyMap<string, PeerAnswer> {
  if (answers.size > 0) return answers;
  const [refusal] = [...refusals.values()].filter(({ code }) => !NOT_HERE.includes(code));
  if (refusal) throw refusal;
  // Whether it exists nobody can tell while a broker is silent; and what one may have done was perhaps done.
  const silent = [...away.values()];
  throw silent.find(mayBeDone) ?? silent[0] ?? refusals.values().next().value ?? noBroker();
}

const CANNOT: readonly number[] = [STATUS.SERVICE_NOT_AVAILABLE];

const NOT_HERE: readonly string[] = ['GROUP_NOT_FOUND', 'TOPIC_NOT_FOUND'];

export const noBroker = (): GantryError =>
  new GantryError('SERVICE_NOT_AVAILABLE', 'no broker lives: start one, or wait until it has registered', {
    retryAfterMs: 1000,
  });
