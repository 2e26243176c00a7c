/** Dead letters on the wire: what a group gave up, and how it is delivered again. */
import { GantryError } from '../../src/base/errors';
import type { Broker } from '../../src/broker/broker';
import { bulkAnswer, itemsOf } from '../bulk';
import { MessageWriter } from '../messageJson';
import { nameOf } from '../names';
import type { HandlerTable } from '../operation';
import { afterNumberOf, listCursor } from '../paging';

export type DeadLetterOperations = 'listDeadLetters' | 'redriveDeadLetters';

export function deadLetterHandlers({ broker }: { readonly broker: Broker }): HandlerTable<DeadLetterOperations> {
  return {
    async listDeadLetters({ path, query }) {
      const { deadLetters, more } = await broker.rooms.deadLetters.list(
        nameOf(path.group),
        afterNumberOf(query.cursor),
        query.limit,
      );
      const cursor = more ? `,"cursor":"${listCursor(String(deadLetters.at(-1)!.no))}"` : '';
      return { status: 200, json: `{"deadLetters":${new MessageWriter(broker).dead(deadLetters)}${cursor}}` };
    },

    async redriveDeadLetters(call) {
      const { path, body, headers } = call;
      checkRedrive(body);
      const dryRun = body.dryRun ?? false;
      const { results, remaining, replayed } = await broker.rooms.deadLetters.redrive(
        nameOf(path.group),
        { ...body, all: body.all ?? false, dryRun },
        headers['Idempotency-Key'],
      );
      const answer = bulkAnswer(call, itemsOf(call, results), { dryRun, remaining });
      return replayed ? { ...answer, headers: { ...answer.headers, 'Idempotency-Replayed': 'true' } } : answer;
    },
  };
}

/** Throws VALIDATION_FAILED when it is not said, or said twice, which dead letters are meant. */
export function checkRedrive(body: { messageIds?: unknown[]; all?: boolean }): void {
  if ((body.messageIds === undefined) === (body.all === true)) return;
  throw new GantryError('VALIDATION_FAILED', 'say either messageIds (these dead letters) or all: true (all of them)', {
    errors: [{ pointer: '', detail: 'needs exactly one of messageIds and all: true' }],
  });
}
