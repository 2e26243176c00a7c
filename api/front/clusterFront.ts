/** The whole cluster, as an operator asks any front about it. */
import type { Call, HandlerTable } from '../operation';
import { namely, type Rounds } from './rounds';

interface BrokerInfo {
  readonly broker: string;
  readonly cluster: string;
}

export function clusterFront(rounds: Rounds): HandlerTable<'getCluster' | 'listBrokers' | 'setBrokerPermission'> {
  const { front } = rounds;
  const brokers = async (call: Call<'getCluster' | 'listBrokers'>) => {
    const names = (await front.fleet.brokersNow()).map(({ name }) => name);
    const asked = { path: undefined as never, query: {} as never };
    const { answers, away } = await rounds.everybody(call, names, 'listBrokers', asked);
    const infos = [...answers.values()].flatMap((answer) => answer.json<{ brokers: BrokerInfo[] }>().brokers);
    return { infos, unavailable: namely(away.keys()) };
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

    async setBrokerPermission(call) {
      const { name } = await front.fleet.broker(call.path.broker);
      return front.forward(call, name);
    },
  };
}
