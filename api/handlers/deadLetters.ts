/** Dead letters on the wire: what a group gave up, and how it is delivered again. */
import { GantryError } from '../../src/base/errors';
import type { Broker } from '../../src/broker/broker';
import { decodeMessage } from '../../src/broker/message';
import { bulkAnswer, itemsOf } from '../bulk';
import { MessageWriter } from '../messageJson';
import { nameOf } from '../names';
import type { Answer, HandlerTable } from '../operation';
import { afterNumberOf, listCursor } from '../paging';

export type DeadLetterOperations =
  'listDeadLetters' | 'getDeadLetter' | 'exportDeadLetter' | 'deleteDeadLetter' | 'redriveDeadLetters';

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

    async getDeadLetter({ path }) {
      const letter = await broker.rooms.deadLetters.get(nameOf(path.group), path.messageId);
      return { status: 200, json: new MessageWriter(broker).deadLetter(letter) };
    },

    async exportDeadLetter({ path }) {
      const { delivery } = await broker.rooms.deadLetters.get(nameOf(path.group), path.messageId);
      return exported(path.messageId, decodeMessage(delivery.record).body);
    },

    async deleteDeadLetter({ path }) {
      await broker.rooms.deadLetters.delete(nameOf(path.group), path.messageId);
      return { status: 204 };
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

/** A body as a file to save: a browser never shows it as a page of this origin, whatever its sender called it. */
export function exported(messageId: string, bytes: Buffer): Answer {
  const headers = {
    'Content-Type': 'application/octet-stream',
    'Content-Disposition': `attachment; filename="${messageId}"`,
    'X-Content-Type-Options': 'nosniff',
  };
  return { status: 200, bytes, headers };
}

/** Throws VALIDATION_FAILED when it is not said, or said twice, which dead letters are meant. */
export function checkRedrive(body: { messageIds?: unknown[]; all?: boolean }): void {
  if ((body.messageIds === undefined) === (body.all === true)) return;
  throw new GantryError('VALIDATION_FAILED', 'say either messageIds (these dead letters) or all: true (all of them)', {
    errors: [{ pointer: '', detail: 'needs exactly one of messageIds and all: true' }],
  });
}
