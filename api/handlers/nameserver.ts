/** The NameServer's operations on the wire. */
import type { Nameserver } from '../../src/nameserver/nameserver';
import { nameOf } from '../names';
import type { HandlerTable } from '../operation';
import { afterOf, listCursor } from '../paging';

type NameserverOperations =
  | 'registerBroker'
  | 'unregisterBroker'
  | 'getNameserverRoute'
  | 'listNameserverRoutes'
  | 'getNameserverCluster'
  | 'wipeWritePermission'
  | 'restoreWritePermission';

export function nameserverHandlers(nameserver: Nameserver): HandlerTable<NameserverOperations> {
  return {
    registerBroker({ path, body }) {
      return { status: 200, body: nameserver.register(path.cluster, path.broker, path.brokerId, body) };
    },
    unregisterBroker({ path, query }) {
      nameserver.unregister(path.cluster, path.broker, path.brokerId, query.address);
      return { status: 204 };
    },
    getNameserverRoute: ({ path }) => ({ status: 200, body: nameserver.route(nameOf(path.topic)) }),
    listNameserverRoutes({ query }) {
      const { routes, next } = nameserver.routes(afterOf(query.cursor) || undefined, query.limit);
      return { status: 200, body: { routes, ...(next === undefined ? {} : { cursor: listCursor(next) }) } };
    },
    getNameserverCluster: () => ({ status: 200, body: nameserver.clusterView() }),
    wipeWritePermission: ({ path }) => ({
      status: 200,
      body: { broker: path.broker, topics: nameserver.wipeWritePermission(path.broker) },
    }),
    restoreWritePermission: ({ path }) => ({
      status: 200,
      body: { broker: path.broker, topics: nameserver.restoreWritePermission(path.broker) },
    }),
  };
}
