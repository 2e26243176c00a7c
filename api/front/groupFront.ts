/**
 * Consumer groups over all brokers. What a group is the home of its first topic decides, and tells the others; so changes
 * go there, and what is read comes from there when it can.
 */
import type { Answer, Call, HandlerTable } from '../operation';
import { listCursor } from '../paging';
import { STATUS } from '../problem';
import type { GroupPlaces } from './groupPlaces';
import type { PeerAnswer } from './peer';
import { answersOf, namely, type Rounds } from './rounds';

type GroupOperations = 'listGroups' | 'putGroup' | 'getGroup' | 'updateGroup' | 'deleteGroup';

interface GroupView {
  readonly name: string;
  readonly version: number;
}

export function groupFront(rounds: Rounds, places: GroupPlaces): HandlerTable<GroupOperations> {
  const { front } = rounds;
  return {
    async listGroups(call) {
      const brokers = await front.liveBrokers();
      const asked = { path: call.path, query: call.query };
      const round = await rounds.all(call, brokers, 'listGroups', () => asked);
      const pages = [...answersOf(round).values()];
      return { status: 200, body: { ...firstOf(pages, call.query.limit), ...namely(round.away.keys()) } };
    },

    async putGroup(call) {
      // A group that exists on another topic refuses there, rather than to exist twice.
      const known = await places.ifAny(call, call.path.group);
      const home = known?.home ?? (await homeOf(rounds, call.body.topic));
      return changing(call, () => front.forward(call, home));
    },

    getGroup: (call) => places.serve(call, call.path.group, ({ brokers }) => rounds.inTurn(call, brokers, PASSED_BY)),

    updateGroup: (call) =>
      places.serve(call, call.path.group, ({ home }) => changing(call, () => front.forward(call, home))),

    deleteGroup: (call) =>
      places.serve(call, call.path.group, ({ brokers }) =>
        changing(call, () => rounds.inTurn(call, brokers, PASSED_BY)),
      ),
  };

  /** Whatever comes of it: what was known of the group may be old. */
  async function changing(
    { path }: Call<'putGroup'> | Call<'updateGroup'> | Call<'deleteGroup'>,
    change: () => Promise<Answer>,
  ): Promise<Answer> {
    try {
      return await change();
    } finally {
      places.forget(path.group);
    }
  }
}

/** The broker that decides about groups of a topic. Throws TOPIC_NOT_FOUND. */
export async function homeOf({ front }: Rounds, topic: string): Promise<string> {
  const { partitions } = await front.fleet.route(topic);
  return partitions[0]!.broker;
}

/** Who was not told of the group yet says that there is none. */
const PASSED_BY: readonly number[] = [STATUS.SERVICE_NOT_AVAILABLE, STATUS.GROUP_NOT_FOUND];

/** Each page has the lowest names of its broker, so the lowest of all are among them. */
function firstOf(pages: readonly PeerAnswer[], limit: number) {
  const byName = new Map<string, GroupView>();
  const parsed = pages.map((page) => page.json<{ groups: GroupView[]; cursor?: string }>());
  for (const group of parsed.flatMap(({ groups }) => groups)) {
    const known = byName.get(group.name);
    if (!known || known.version < group.version) byName.set(group.name, group);
  }
  const all = [...byName.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  const groups = all.slice(0, limit);
  const more = all.length > limit || parsed.some(({ cursor }) => cursor !== undefined);
  return { groups, ...(more && groups.length > 0 ? { cursor: listCursor(groups.at(-1)!.name) } : {}) };
}
