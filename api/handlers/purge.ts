/** Purging a topic on the wire. */
import { GantryError } from '../../src/base/errors';
import type { Broker } from '../../src/broker/broker';
import { nameOf } from '../names';
import type { BodyOf, HandlerTable } from '../operation';
import { placeOf } from '../places';

export function purgeHandlers({ broker }: { readonly broker: Broker }): HandlerTable<'purgeTopic'> {
  return {
    async purgeTopic({ path, body }) {
      checkPurge(body);
      const { before, dryRun = false } = body;
      const purged = await broker.rooms.purge.run(nameOf(path.topic), { before, dryRun });
      const results = purged.map(({ queue, from, to }) => ({ ...placeOf(broker, queue), from, to }));
      return { status: 200, body: purgeResult(dryRun, results) };
    },
  };
}

/** The answer of a purge; `results` are the queues of one broker or of several. */
export function purgeResult(dryRun: boolean, results: readonly { readonly from: number; readonly to: number }[]) {
  const messages = results.reduce((sum, { from, to }) => sum + to - from, 0);
  return { dryRun, messages, results };
}

/** Throws VALIDATION_FAILED when it is not said, or said twice, which messages are meant. */
export function checkPurge({ before, all }: BodyOf<'purgeTopic'>): void {
  if ((before === undefined) === (all === true)) return;
  throw new GantryError(
    'VALIDATION_FAILED',
    'say either before (messages stored earlier than this time) or all: true (all messages)',
    { errors: [{ pointer: '', detail: 'needs exactly one of before and all: true' }] },
  );
}
