/** What an operator asks a broker first: who it is, how far its journal is, what goes through it. */
import { GantryError } from '../../src/base/errors';
import type { Broker } from '../../src/broker/broker';
import { setBrokerPermission } from '../../src/broker/brokerPermission';
import { etagOf, preconditionOf } from '../etag';
import type { HandlerTable } from '../operation';
import { FEATURES, VERSION } from '../version';

export interface ClusterDeps {
  readonly broker: Broker;
  readonly brokerId: number;
  /** Open connections of the front. */
  readonly connections: () => number;
  /** Resolves when the NameServers have heard of the change. */
  readonly registered: () => Promise<unknown>;
  readonly nameservers: () => readonly {
    address: string;
    reachable: boolean;
    lastRegistrationTimestamp?: number;
    lastError?: string;
  }[];
}

export function clusterHandlers(deps: ClusterDeps): HandlerTable<'getCluster' | 'listBrokers' | 'setBrokerPermission'> {
  return {
    getCluster() {
      const nameservers = deps.nameservers().map(nameserverInfo);
      return { status: 200, body: { cluster: deps.broker.cluster, brokers: [brokerView(deps)], nameservers } };
    },
    listBrokers: () => ({ status: 200, body: { brokers: [brokerView(deps)] } }),

    async setBrokerPermission({ path, body, headers }) {
      const { broker } = deps;
      if (path.broker !== broker.name) throw notHere(path.broker);
      const condition = preconditionOf(headers, broker.name);
      const { permission, version } = await setBrokerPermission(broker.rooms.core, body.permission, condition);
      await deps.registered();
      return {
        status: 200,
        body: { broker: broker.name, permission },
        headers: { ETag: etagOf(broker.name, version) },
      };
    },
  };
}

/** Public information about a NameServer. */
export const nameserverInfo = ({
  address,
  reachable,
  lastRegistrationTimestamp,
}: {
  readonly address: string;
  readonly reachable: boolean;
  readonly lastRegistrationTimestamp?: number;
}) => ({ address, reachable, ...(lastRegistrationTimestamp === undefined ? {} : { lastRegistrationTimestamp }) });

const notHere = (name: string): GantryError =>
  new GantryError('BROKER_NOT_FOUND', `there is no broker ${name} here: GET /v1/brokers lists them`);

export const metaHandlers: HandlerTable<'getVersion'> = {
  getVersion: () => ({ status: 200, body: { name: 'gantry', version: VERSION, features: FEATURES } }),
};

function brokerView({ broker, brokerId, connections }: ClusterDeps) {
  const { rooms, state, journal } = broker;
  const lostRanges = journal.lostRanges;
  const rates = broker.rates.perSecond();
  broker.rates.note();
  return {
    cluster: broker.cluster,
    broker: broker.name,
    brokerId,
    role: 'MASTER',
    epoch: rooms.epoch,
    address: broker.address,
    messageIdTag: rooms.identity.messageIdTag,
    permission: state.permission.permission,
    version: VERSION,
    startedTimestamp: broker.startedAt,
    journal: { head: state.marks.journalHead, end: journal.end, confirmed: journal.end, applied: state.applied },
    traffic: broker.traffic(),
    ...(rates ? { rates } : {}),
    diskUsedRatio: rooms.retention.usedRatio,
    topics: state.topics.size,
    groups: state.groups.size,
    connections: connections(),
    parkedPolls: broker.lot.parked,
    ...(lostRanges.length > 0 ? { lostRanges } : {}),
  };
}
