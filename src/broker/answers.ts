/**
 * Answers that are remembered for 10 minutes, so that a call that is told again changes nothing (api.md, rule 10). The
 * command that does the work writes its row; here it is found again, in the bucket of now or of the one before.
 */
import { createHash } from 'node:crypto';
import { tableKeys } from '../../storage/keys';
import type { Tables } from '../../storage/tables';
import { GantryError } from '../base/errors';
import { LIMITS } from '../base/limits';
import type { Core } from './core';
import { getRow } from './rows';
import { answerBucketOf } from './sends';
import { parseJson } from './state';

/** A call with an Idempotency-Key, and the hash of what it asks for. It may take several commands. */
export interface KeyedCall {
  readonly operation: 'redrive' | 'sendBack';
  /** Number of the group. */
  readonly group: number;
  readonly key: string;
  readonly content: string;
}

/** What is kept of each command of such a call. */
interface KeyedAnswer {
  readonly time: number;
  readonly content: string;
}

/** Under which 16 bytes the n-th command of a call is remembered. */
export const hashOfCommand = ({ operation, group, key }: KeyedCall, n: number): Buffer =>
  createHash('sha256').update(`${operation}\0${group}\0${n}\0${key}`).digest().subarray(0, 16);

export class Answers {
  readonly #core: Core;
  readonly #tables: Tables;
  /** Keyed calls that are under way. */
  readonly #running = new Set<string>();

  constructor(core: Core, tables: Tables) {
    this.#core = core;
    this.#tables = tables;
  }

  /** What was remembered under a 16-byte hash, if its 10 minutes are not over. */
  async of<T extends { readonly time: number }>(hash: Buffer): Promise<T | undefined> {
    const { state, clock } = this.#core;
    // As the writer stamps commands: a clock that was set back must not hide what was just stored.
    const now = Math.max(clock.now(), state.marks.time);
    for (const bucket of [answerBucketOf(now), answerBucketOf(now) - 1]) {
      if (bucket < state.marks.answerBucket) continue;
      const value = await getRow(this.#tables, state.overlay, tableKeys.answer(bucket, hash));
      const answer = value && parseJson<T>(value);
      if (answer && answer.time > now - LIMITS.idempotencyMs) return answer;
    }
    return undefined;
  }

  /** What a keyed call did before, command by command. Throws IDEMPOTENCY_KEY_REUSED when it asked for something else. */
  async before<T extends KeyedAnswer>(call: KeyedCall): Promise<T[]> {
    const answers: T[] = [];
    for (;;) {
      const answer = await this.of<T>(hashOfCommand(call, answers.length));
      if (!answer) return answers;
      if (answer.content !== call.content) throw reused();
      answers.push(answer);
    }
  }

  /** One call with a key at a time: whoever repeats it while the first still runs gets IDEMPOTENCY_IN_PROGRESS. */
  async alone<T>(name: string, work: () => Promise<T>): Promise<T> {
    if (this.#running.has(name)) {
      throw new GantryError(
        'IDEMPOTENCY_IN_PROGRESS',
        'the first call with this Idempotency-Key has not been answered yet: try again in a second',
        { retryAfterMs: 1000 },
      );
    }
    if (this.#running.size >= LIMITS.keyedCalls) {
      throw new GantryError('SERVICE_NOT_AVAILABLE', `${LIMITS.keyedCalls} calls with a key are under way already`, {
        retryAfterMs: 1000,
      });
    }
    this.#running.add(name);
    try {
      return await work();
    } catch (error) {
      // Whatever happened, repeating it does no harm.
      if (error instanceof GantryError && error.code === 'OUTCOME_UNKNOWN')
        throw new GantryError(error.code, error.message, { ...error.extras, retryable: true });
      throw error;
    } finally {
      this.#running.delete(name);
    }
  }
}

export const reused = (): GantryError =>
  new GantryError(
    'IDEMPOTENCY_KEY_REUSED',
    'this Idempotency-Key was used for another content within the last 10 minutes: use a new one',
  );
