/** Where groups stand, on the wire: committing, looking, resetting. */
import { GantryError } from '../../src/base/errors';
import type { Broker } from '../../src/broker/broker';
import { retryTopicOf } from '../../src/broker/group';
import type { ResetTarget } from '../../src/broker/positions';
import { bulkAnswer, itemsOf } from '../bulk';
import { nameOf } from '../names';
import type { HandlerTable } from '../operation';
import { placeOf } from '../places';

export type OffsetOperations = 'commitOffsets' | 'getOffsets' | 'resetOffsets';

export function offsetHandlers({ broker }: { readonly broker: Broker }): HandlerTable<OffsetOperations> {
  return {
    async commitOffsets(call) {
      const { path, body } = call;
      checkCommit(body);
      const items = await broker.rooms.positions.commit(nameOf(path.group), {
        consumerId: body.consumerId,
        cursor: body.cursor,
        generation: body.generation,
        offsets: body.offsets,
        force: body.force ?? false,
      });
      return bulkAnswer(call, itemsOf(call, items));
    },

    getOffsets({ path, query }) {
      const { group, counts, queues } = broker.rooms.positions.offsets(nameOf(path.group), query.consumerId);
      const offsets = queues.map(({ queue, ...progress }) => ({
        ...placeOf(broker, queue),
        ...progress,
        minOffset: queue.min,
        maxOffset: queue.max,
      }));
      const total = (field: 'lag' | 'ready' | 'inFlight' | 'stranded') =>
        queues.reduce((sum, one) => sum + (one[field] ?? 0), 0);
      const leased = queues.some(({ ready }) => ready !== undefined);
      return {
        status: 200,
        body: {
          group: group.name,
          topic: group.topicName,
          lag: total('lag'),
          ...(total('stranded') > 0 ? { stranded: total('stranded') } : {}),
          ...(leased ? { ready: total('ready'), inFlight: total('inFlight') } : {}),
          retryTopic: retryTopicOf(group.name),
          waitingRetry: counts.waiting,
          deadLetters: counts.dead,
          offsets,
        },
      };
    },

    async resetOffsets({ path, body }) {
      const dryRun = body.dryRun ?? false;
      const { steps, ...retries } = await broker.rooms.positions.reset(
        nameOf(path.group),
        resetTarget(body),
        body.queues,
        dryRun,
        body.dropRetries,
      );
      const results = steps.map(({ queue, ...step }) => ({ ...placeOf(broker, queue), ...step, maxOffset: queue.max }));
      return { status: 200, body: { dryRun, results, ...retries } };
    },
  };
}

/** Throws VALIDATION_FAILED when it is not said, or said twice, what is to be committed. */
export function checkCommit(body: { cursor?: string; offsets?: unknown[] }): void {
  if ((body.cursor === undefined) !== (body.offsets === undefined)) return;
  throw new GantryError(
    'VALIDATION_FAILED',
    'say either cursor (commits all it covers) or offsets (commits these queues)',
    {
      errors: [{ pointer: '', detail: 'needs exactly one of cursor and offsets' }],
    },
  );
}

function resetTarget(body: { to: string; timestamp?: number; offset?: number }): ResetTarget {
  if (body.to === 'TIMESTAMP') return { timestamp: required(body.timestamp, 'timestamp', body.to) };
  if (body.to === 'OFFSET') return { offset: required(body.offset, 'offset', body.to) };
  return body.to as 'EARLIEST' | 'LATEST';
}

function required(value: number | undefined, field: string, to: string): number {
  if (value !== undefined) return value;
  throw new GantryError('VALIDATION_FAILED', `to ${to} needs ${field}`, {
    errors: [{ pointer: `/${field}`, detail: 'is missing' }],
  });
}
