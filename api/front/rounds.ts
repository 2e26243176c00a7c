/** One question to several brokers at once, where one that is dead or hangs must not hold up the others. */
import { GantryError } from '../../src/base/errors';
import { Patience } from '../../src/cluster/patience';
import type { Call, OperationId } from '../operation';
import { STATUS } from '../problem';
import type { Front } from './front';
import type { PeerAnswer, PeerRequest } from './peer';

/** What of a call matters to those that are asked for its sake. */
export type Asking = Pick<Call<OperationId>, 'derive' | 'requestId' | 'instance'>;

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
    this.patience = new Patience(front.clock);
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
    return this.patience.wait(broker, waitMs, signal, (own) => peer.call(operationId, asked, own));
  }

  /** Asks all that are worth waiting for. Rejects only with what is no broker's failure, such as the client's going away. */
  async all<Op extends OperationId>(
    call: Asking & { readonly signal: AbortSignal },
    brokers: readonly string[],
    operationId: Op,
    asked: (broker: string) => PeerRequest<Op>,
  ): Promise<Round> {
    const worthy = this.patience.worthy(brokers);
    const { signal } = call;
    const outcomes = await Promise.all(
      brokers.map(async (broker) =>
        worthy.includes(broker)
          ? outcomeOf(this.ask(call, broker, operationId, asked(broker), { signal }))
          : leftAlone(broker),
      ),
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

/** Says of a broker that it gives no answer now (503, 504), not what it thinks of the question. */
export const isAway = ({ code }: GantryError): boolean =>
  STATUS[code] === STATUS.SERVICE_NOT_AVAILABLE || STATUS[code] === STATUS.OUTCOME_UNKNOWN;

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
  // Whether it exists nobody can tell while a broker is silent.
  throw away.values().next().value ?? refusals.values().next().value ?? noBroker();
}

const NOT_HERE: readonly string[] = ['GROUP_NOT_FOUND', 'TOPIC_NOT_FOUND'];

const noBroker = (): GantryError =>
  new GantryError('SERVICE_NOT_AVAILABLE', 'no broker lives: start one, or wait until it has registered', {
    retryAfterMs: 1000,
  });
