/**
 * Consumer groups over all brokers. What a group is the home of its first topic decides, and tells the others; so changes
 * go there, and what is read comes from there when it can.
 */
import type { GroupOverview } from '../../src/broker/groupOverview';
import type { GroupOperations } from '../handlers/groups';
import type { Answer, Call, HandlerTable } from '../operation';
import { listCursor } from '../paging';
import { STATUS } from '../problem';
import type { GroupPlaces, Places } from './groupPlaces';
import { Homes } from './homes';
import { mergedByName, type Named } from './mergedByName';
import { answersOf, namely, type Rounds } from './rounds';

export function groupFront(rounds: Rounds, places: GroupPlaces): HandlerTable<GroupOperations> {
  const { front } = rounds;
  const homes = new Homes(rounds);
  return {
    async listGroups(call) {
      const brokers = await front.liveBrokers();
      const asked = { path: call.path, query: call.query };
      const round = await rounds.all(call, brokers, 'listGroups', () => asked);
      const pages = [...answersOf(round).values()].map((answer) =>
        answer.json<{ groups: Listed[]; cursor?: string }>(),
      );
      const { items, more } = mergedByName(
        pages.map(({ groups, cursor }) => [groups, cursor]),
        call.query.limit,
      );
      const cursor = more ? { cursor: listCursor(items.at(-1)!.name) } : {};
      return {
        status: 200,
        body: { groups: items.map((item) => together(item, pages)), ...cursor, ...namely(round.away.keys()) },
      };
    },

    async putGroup(call) {
      // A group that exists on another topic refuses there, rather than to exist twice.
      const { group } = call.path;
      const known = await places.ifAnyLives(call, group);
      if (known) return changing(call, () => homes.change(call, described(group, known)));
      const brokers = await front.fleet.brokersOf(call.body.topic);
      return changing(call, () => homes.create(call, call.body.topic, brokers));
    },

    getGroup: (call) => places.serve(call, call.path.group, ({ brokers }) => rounds.inTurn(call, brokers, PASSED_BY)),

    updateGroup: (call) =>
      places.serve(call, call.path.group, (known) =>
        changing(call, () => homes.change(call, described(call.path.group, known))),
      ),

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

/** A group as one broker lists it. */
interface Listed extends Named, GroupOverview {}

/** Each broker counts messages of its own queues; members join at all brokers, and one of them may not know all yet. */
function together(group: Listed, pages: readonly { readonly groups: readonly Listed[] }[]): Listed {
  const parts = pages.flatMap(({ groups }) => groups.filter(({ name }) => name === group.name));
  const sum = (field: keyof GroupOverview) => parts.reduce((total, part) => total + part[field], 0);
  return {
    ...group,
    members: Math.max(...parts.map(({ members }) => members)),
    ...{ lag: sum('lag'), ready: sum('ready'), inFlight: sum('inFlight') },
    ...{ waitingRetry: sum('waitingRetry'), deadLetters: sum('deadLetters') },
  };
}

/** A group whose change its home decides. */
const described = (group: string, { brokers, topics }: Places) => ({
  topic: topics[0]!,
  brokers,
  what: `group ${group}`,
});

/** Who was not told of the group yet says that there is none. */
const PASSED_BY: readonly number[] = [STATUS.SERVICE_NOT_AVAILABLE, STATUS.GROUP_NOT_FOUND];
