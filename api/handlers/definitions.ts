/** What brokers share, on the wire between them. */
import { GantryError } from '../../src/base/errors';
import type { Broker } from '../../src/broker/broker';
import { topicNamed } from '../../src/broker/core';
import { queuesBehind, unreadIn } from '../../src/broker/holdings';
import { bulkAnswer, failed, type BulkItem } from '../bulk';
import { nameOf } from '../names';
import type { HandlerTable } from '../operation';
import { afterOf, listCursor } from '../paging';

export interface DefinitionDeps {
  readonly broker: Broker;
  /** Resolves when the NameServers that can be reached know of the last change. */
  readonly registered: () => Promise<unknown>;
}

export function definitionHandlers({
  broker,
  registered,
}: DefinitionDeps): HandlerTable<'listDefinitions' | 'installDefinitions' | 'listHoldings' | 'leaveTopic'> {
  return {
    async leaveTopic({ path, body }) {
      await broker.rooms.topics.leave(nameOf(path.topic), body.force);
      await registered();
      return { status: 204 };
    },

    listHoldings({ path, query }) {
      const topic = topicNamed(broker.state, nameOf(path.topic));
      const holdings = unreadIn(broker.state, topic, queuesBehind(topic, query.fromQueue ?? 0));
      return { status: 200, body: { holdings } };
    },

    listDefinitions({ query }) {
      const { definitions } = broker.rooms;
      const { digest } = definitions;
      if (query.group !== undefined)
        return { status: 200, body: { digest, definitions: definitions.group(query.group) } };
      if (query.digest === digest) return { status: 200, body: { digest, definitions: [] } };
      const { definitions: page, next } = definitions.list(afterOf(query.cursor), query.limit);
      const cursor = next === undefined ? {} : { cursor: listCursor(next) };
      return { status: 200, body: { digest, definitions: page, ...cursor } };
    },

    async installDefinitions(call) {
      const results: BulkItem[] = [];
      // One after the other: a group comes behind the topics that it reads.
      for (const definition of call.body.definitions) {
        try {
          await broker.rooms.definitions.install(definition);
          results.push({ status: 'OK' });
        } catch (error) {
          if (!(error instanceof GantryError)) throw error;
          results.push(failed(error, call.requestId));
        }
      }
      await registered();
      return bulkAnswer(call, results);
    },
  };
}
