/** The whole cluster, as an operator asks any front about it. */
import { GantryError } from '../../src/base/errors';
import type { Call, HandlerTable } from '../operation';
import { STATUS } from '../problem';
import type { Front } from './front';
import { namely, type Rounds } from './rounds';

interface BrokerInfo {
  readonly broker: string;
  readonly cluster: string;
}

export function clusterFront(
  rounds: Rounds,
): HandlerTable<'getCluster' | 'listBrokers' | 'setBrokerPermission' | 'removeBroker'> {
  const { front } = rounds;
  const brokers = async (call: Call<'getCluster' | 'listBrokers'>) => {
    const heard = await lastHeartbeats(front);
    const names = [...new Set([...heard.keys(), ...(front.here === undefined ? [] : [front.here])])].sort();
    const asked = { path: undefined as never, query: {} as never };
    const { answers, away, refusals } = await rounds.everybody(call, names, 'listBrokers', asked);
    const without = new Map([...away, ...refusals]);
    // An empty list would say that there is no broker.
    if (answers.size === 0 && without.size > 0) throw nobodyAnswers(without);
    const infos = [...answers.values()].flatMap((answer) => answer.json<{ brokers: BrokerInfo[] }>().brokers);
    return {
      infos: infos.map((info) => ({ ...info, ...heard.get(info.broker) })),
      unavailable: namely(without.keys()),
    };
  };
  const answers = async (call: Call<'removeBroker'>, broker: string): Promise<boolean> => {
    const asked = { path: undefined as never, query: {} as never };
    const { away } = await rounds.everybody(call, [broker], 'listBrokers', asked);
    return away.size === 0;
  };
  return {
    async getCluster(call) {
      const { infos, unavailable } = await brokers(call);
      const nameservers = front.nameservers();
      const cluster = infos[0]?.cluster ?? '';
      return { status: 200, body: { cluster, brokers: infos, nameservers, ...unavailable } };
    },

    async listBrokers(call) {
      const { infos, unavailable } = await brokers(call);
      return { status: 200, body: { brokers: infos, ...unavailable } };
    },

    async removeBroker(call) {
      const { broker } = call.path;
      if (await answers(call, broker)) return front.forward(call, broker);
      const others = (await front.liveBrokers()).filter((name) => name !== broker);
      return rounds.inTurn(call, others, [STATUS.BROKER_NOT_FOUND, STATUS.SERVICE_NOT_AVAILABLE]);
    },

    async setBrokerPermission(call) {
      const { name } = await front.fleet.broker(call.path.broker);
      return front.forward(call, name);
    },
  };
}

function nobodyAnswers(without: ReadonlyMap<string, GantryError>): GantryError {
  const [first] = without.values();
  const names = [...without.keys()];
  return new GantryError(
    'SERVICE_NOT_AVAILABLE',
    `none of the brokers ${names.join(', ')} could be asked: ${first!.message}`,
    {
      retryAfterMs: 1000,
    },
  );
}

/** Of the brokers that live. While no NameServer answers a broker shows itself: that is when its operator looks. */
async function lastHeartbeats({ fleet, here }: Front): Promise<Map<string, { lastHeartbeatTimestamp: number }>> {
  try {
    const { brokers: live, complete } = await fleet.seenNow();
    if (live.length === 0 && !complete && here === undefined)
      throw new GantryError('STARTING', 'the NameServers have just started and know no broker yet', {
        retryAfterMs: 1000,
      });
    return new Map(live.map(({ name, lastHeartbeatTimestamp }) => [name, { lastHeartbeatTimestamp }]));
  } catch (error) {
    if (here === undefined || !(error instanceof GantryError)) throw error;
    return new Map();
  }
}
