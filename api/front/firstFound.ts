/**
 * What one of several brokers has, and nobody knows which: all are asked at once and the first that has it answers. It
 * is absent only when every one of them was asked and says so.
 */
import { GantryError } from '../../src/base/errors';
import { refusedBeforeWriting, type PeerAnswer } from './peer';

/** Asks one broker. Fails as Peer.call does. */
type Ask = (broker: string, signal: AbortSignal) => Promise<PeerAnswer>;

/** What a broker says, or why it says nothing. */
type Outcome = PeerAnswer | GantryError;

/**
 * The first good answer; what was asked of others is ended then, unless it `changes` something. Without one: the word of
 * a broker that has it and refuses. Throws OUTCOME_UNKNOWN or SERVICE_NOT_AVAILABLE when somebody could not be asked;
 * else the answer is that there is none.
 */
export async function firstFound(
  brokers: readonly string[],
  signal: AbortSignal,
  ask: Ask,
  { changes = false }: { readonly changes?: boolean } = {},
): Promise<PeerAnswer> {
  const own = new AbortController();
  const asked = changes ? signal : AbortSignal.any([signal, own.signal]);
  const waiting = new Map(
    brokers.map((broker) => [broker, outcomeOf(broker, ask(broker, asked)).then((outcome) => ({ broker, outcome }))]),
  );
  const outcomes: Outcome[] = [];
  while (waiting.size > 0) {
    const { broker, outcome } = await Promise.race(waiting.values());
    waiting.delete(broker);
    if (!(outcome instanceof GantryError) && outcome.ok) {
      own.abort(new Error('another broker has answered'));
      return outcome;
    }
    outcomes.push(outcome);
  }
  return tellingOf(outcomes);
}

async function outcomeOf(broker: string, asked: Promise<PeerAnswer>): Promise<Outcome> {
  try {
    const answer = await asked;
    return refusedBeforeWriting(answer) ? answer.failure() : answer;
  } catch (error) {
    if (!(error instanceof GantryError)) throw error;
    if (error.code !== 'SERVICE_NOT_AVAILABLE') return error;
    return new GantryError(error.code, `broker ${broker} cannot be asked now, and may have it: ask again later`, {
      retryAfterMs: 1000,
    });
  }
}

/** Of outcomes none of which is good, the one that says most. */
function tellingOf(outcomes: readonly Outcome[]): PeerAnswer {
  const answers = outcomes.filter((outcome) => !(outcome instanceof GantryError)) as PeerAnswer[];
  const failures = outcomes.filter((outcome) => outcome instanceof GantryError);
  const refusal = answers.find(({ status }) => status !== 404);
  if (refusal) return refusal;
  const failure = failures.find(({ code }) => code === 'OUTCOME_UNKNOWN') ?? failures[0];
  if (failure) throw failure;
  return answers.find(({ code }) => code !== 'TOPIC_NOT_FOUND') ?? answers[0]!;
}
