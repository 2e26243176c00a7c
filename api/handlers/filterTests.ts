/** Trying filters on the wire. */
import type { Broker } from '../../src/broker/broker';
import { offsetMessageId } from '../../src/broker/offsetMessageId';
import { nameOf } from '../names';
import type { HandlerTable } from '../operation';
import { placeOf } from '../places';

const DEFAULT_LAST = 100;

export function filterTestHandlers({ broker }: { readonly broker: Broker }): HandlerTable<'testFilter'> {
  return {
    async testFilter({ path, body }) {
      const { filterTests, core } = broker.rooms;
      const { results, complete } = await filterTests.run(nameOf(path.topic), body.filter, body.last ?? DEFAULT_LAST);
      const count = (wanted: string) => results.filter(({ outcome }) => outcome === wanted).length;
      return {
        status: 200,
        body: {
          examined: results.length,
          matched: count('MATCHED'),
          failed: count('FAILED'),
          complete,
          results: results.map(({ queue, position, ...tried }) => ({
            ...placeOf(broker, queue),
            ...tried,
            offsetMessageId: offsetMessageId(core.idTag, position),
          })),
        },
      };
    },
  };
}
