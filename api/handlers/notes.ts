/** Notes of fronts, as this broker keeps them. */
import type { Broker } from '../../src/broker/broker';
import type { HandlerTable } from '../operation';

export function noteHandlers({ broker }: { readonly broker: Broker }): HandlerTable<'getNote' | 'putNote'> {
  return {
    getNote({ path }) {
      const note = broker.rooms.notes.get(path.note);
      return { status: 200, body: { version: note?.version ?? 0, value: note?.value ?? '' } };
    },

    async putNote({ path, body }) {
      await broker.rooms.notes.put(path.note, body.value, body.version, body.ttlMs);
      return { status: 204 };
    },
  };
}
