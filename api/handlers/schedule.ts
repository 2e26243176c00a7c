/** Messages that wait for their time, on the wire. */
import type { Broker } from '../../src/broker/broker';
import type { SchedulePlace } from '../../src/broker/schedule';
import { MessageWriter } from '../messageJson';
import { nameOf } from '../names';
import type { HandlerTable } from '../operation';
import { afterPartsOf, listCursor } from '../paging';

export type ScheduleOperations = 'listScheduled' | 'recallScheduled';

export function scheduleHandlers({ broker }: { readonly broker: Broker }): HandlerTable<ScheduleOperations> {
  return {
    async listScheduled({ path, query }) {
      const place = placeOf(query.cursor);
      const { scheduled, more } = await broker.rooms.schedule.list(nameOf(path.topic), place, query.limit);
      const last = more ? scheduled.at(-1) : undefined;
      const cursor = last ? `,"cursor":"${listCursor(`${last.due}.${last.position}`)}"` : '';
      return { status: 200, json: `{"scheduled":${new MessageWriter(broker).scheduled(scheduled)}${cursor}}` };
    },

    async recallScheduled({ path }) {
      await broker.rooms.schedule.recall(nameOf(path.topic), path.messageId);
      return { status: 204 };
    },
  };
}

/** Behind which message to go on: its time and its number. Throws CURSOR_INVALID. */
function placeOf(cursor: string | undefined): SchedulePlace | undefined {
  const [due, position] = afterPartsOf(cursor, /^([0-9]{1,15})\.([0-9]{1,16})$/) ?? [];
  return due === undefined ? undefined : { due: Number(due), position: Number(position) };
}
