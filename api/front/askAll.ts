/** One question to several brokers at once: what each answers, and who could not be asked. */
import { GantryError } from '../../src/base/errors';
import type { Call, OperationId } from '../operation';
import type { Front } from './front';
import type { PeerAnswer, PeerRequest } from './peer';

export interface Answers {
  /** In the order of the brokers that were asked; refusals are among them. */
  readonly answered: readonly { readonly broker: string; readonly answer: PeerAnswer }[];
  /** Those that gave no answer, or none now (503). */
  readonly unavailable: readonly string[];
}

/** Asks all of them in parallel. Rejects only with what is no failure of a broker, such as the client's going away. */
export async function askAll<Op extends OperationId>(
  front: Front,
  call: Call<OperationId>,
  brokers: readonly string[],
  operationId: Op,
  asked: PeerRequest<Op>,
): Promise<Answers> {
  const answers = await Promise.all(
    brokers.map(async (broker) => {
      try {
        const answer = await front.peer(broker, call).call(operationId, asked, call.signal);
        return answer.status === 503 ? undefined : { broker, answer };
      } catch (error) {
        if (error instanceof GantryError) return undefined;
        throw error;
      }
    }),
  );
  return {
    answered: answers.filter((one) => one !== undefined),
    unavailable: brokers.filter((_, i) => answers[i] === undefined),
  };
}

/** What the brokers that could answer said; throws a refusal when all of them refused, and 503 when none could be asked. */
export function someOk({ answered, unavailable }: Answers): { broker: string; answer: PeerAnswer }[] {
  const good = answered.filter(({ answer }) => answer.ok);
  if (good.length > 0) return good;
  if (answered.length > 0 && unavailable.length === 0) throw answered[0]!.answer.failure();
  throw away(unavailable);
}

/** Nobody who could answer can be asked now. */
export const away = (brokers: readonly string[]): GantryError =>
  new GantryError(
    'SERVICE_NOT_AVAILABLE',
    brokers.length === 0
      ? 'no broker lives: start one, or wait until it has registered'
      : `${brokers.join(', ')} cannot be asked now`,
    { retryAfterMs: 1000 },
  );

/** For a list that says what it does not know of. */
export const missing = (unavailable: readonly string[]): { unavailable?: readonly string[] } =>
  unavailable.length > 0 ? { unavailable } : {};

/** The first that answers, in this order; a later one is asked only when one before it cannot be. */
export async function askInTurn<Op extends OperationId>(
  front: Front,
  call: Call<OperationId>,
  brokers: readonly string[],
  operationId: Op,
  asked: PeerRequest<Op>,
): Promise<PeerAnswer> {
  let failure: unknown = away([]);
  for (const broker of brokers) {
    try {
      const answer = await front.peer(broker, call).call(operationId, asked, call.signal);
      if (answer.status !== 503) return answer;
      failure = answer.failure();
    } catch (error) {
      if (!(error instanceof GantryError) || error.code !== 'SERVICE_NOT_AVAILABLE') throw error;
      failure = error;
    }
  }
  throw failure;
}
