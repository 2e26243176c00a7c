/**
 * Answers that are remembered for 10 minutes, so that a call that is told again changes nothing (api.md, rule 10). The
 * command that does the work writes its row; here it is found again, in the bucket of now or of the one before.
 */
import { tableKeys } from '../../storage/keys';
import type { Tables } from '../../storage/tables';
import { LIMITS } from '../base/limits';
import type { Core } from './core';
import { getRow } from './rows';
import { answerBucketOf } from './sends';
import { parseJson } from './state';

export class Answers {
  readonly #core: Core;
  readonly #tables: Tables;

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
}
