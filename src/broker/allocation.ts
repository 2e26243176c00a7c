/**
 * Which member of a group reads which queue: pure functions of the group's members and the topic's queues. The rules are
 * those of RocketMQ's client (client/consumer/rebalance/AllocateMessageQueue*.java), so that whoever changes over finds
 * the same shares; here the broker works them out once for all members instead of each member for itself.
 */
import { hash } from 'node:crypto';

/** The strategies by RocketMQ's names (getName() of each); the first is the default there. */
export const ALLOCATIONS = ['AVG', 'AVG_BY_CIRCLE', 'CONSISTENT_HASH'] as const;

export type Allocation = (typeof ALLOCATIONS)[number];

type Strategy = (members: readonly string[], queues: readonly string[]) => number[][];

const STRATEGIES: Record<Allocation, Strategy> = {
  AVG: (members, queues) => averagely(members.length, queues.length),
  AVG_BY_CIRCLE: (members, queues) => byCircle(members.length, queues.length),
  CONSISTENT_HASH: byConsistentHash,
};

/**
 * Shares the queues of one topic out among the members of one group. Every queue goes to exactly one member; a member
 * may get none.
 *
 * @param strategy `AVG`: contiguous stretches. `AVG_BY_CIRCLE`: dealt out one by one. `CONSISTENT_HASH`: by hashes of the
 *   names, uneven, but a member that comes or goes moves no queue between the others.
 * @param _group the group's name. RocketMQ hands it to its strategies too; none of these three looks at it.
 * @param members ids of the members, distinct and sorted: position is rank.
 * @param queues names of the topic's queues, distinct, in partition order. Only CONSISTENT_HASH reads them (RocketMQ
 *   hashes `MessageQueue [topic=…, brokerName=…, queueId=…]`): a name must not change while the queue lives.
 * @returns by position of the member, the positions of its queues, ascending. Without members: [].
 */
export function allocate(
  strategy: Allocation,
  _group: string,
  members: readonly string[],
  queues: readonly string[],
): number[][] {
  return STRATEGIES[strategy](members, queues);
}

/**
 * RocketMQ's AVG (AllocateMessageQueueAveragely): each member gets a contiguous stretch, the first ones one queue more
 * when it does not divide evenly. Takes how many members and queues there are; answers, by position of the member,
 * positions of queues.
 */
export function averagely(members: number, queues: number): number[][] {
  const rest = queues % members;
  return Array.from({ length: members }, (_, i) => {
    const size = queues <= members ? 1 : Math.floor(queues / members) + (rest > 0 && i < rest ? 1 : 0);
    const start = rest > 0 && i < rest ? i * size : i * size + rest;
    const count = Math.max(0, Math.min(size, queues - start));
    return Array.from({ length: count }, (_, j) => start + j);
  });
}

/** RocketMQ's AVG_BY_CIRCLE (AllocateMessageQueueAveragelyByCircle): queue j goes to member j mod members. */
function byCircle(members: number, queues: number): number[][] {
  const shares = Array.from({ length: members }, (): number[] => []);
  if (members > 0) for (let j = 0; j < queues; j++) shares[j % members]!.push(j);
  return shares;
}

/** Places of one member on the ring: RocketMQ's default (AllocateMessageQueueConsistentHash). */
const VIRTUAL_NODES = 10;

/** One place on the ring: where it is (see `placeOf`) and the position of the member whose it is. */
interface VirtualNode {
  readonly place: number;
  readonly member: number;
}

/**
 * RocketMQ's CONSISTENT_HASH (AllocateMessageQueueConsistentHash, common/consistenthash/ConsistentHashRouter): every
 * member has the places of `<id>-0` to `<id>-9` on a ring; a queue goes to the first place at or after its own, and
 * after the last place comes the first. O((members + queues) · log members); 1024 of each take 10 to 20 ms, nearly all of
 * it MD5.
 */
function byConsistentHash(members: readonly string[], queues: readonly string[]): number[][] {
  const shares = members.map((): number[] => []);
  const ring = ringOf(members);
  if (ring.length > 0) queues.forEach((name, j) => shares[nextNode(ring, placeOf(name)).member]!.push(j));
  return shares;
}

/**
 * The virtual nodes in the order of their places. Where two members meet in one place the later one has it, as in
 * RocketMQ, whose map is filled in the members' order: it comes first here, and the search finds the first.
 */
function ringOf(members: readonly string[]): VirtualNode[] {
  return members
    .flatMap((id, member) =>
      Array.from({ length: VIRTUAL_NODES }, (_, i) => ({ place: placeOf(`${id}-${i}`), member })),
    )
    .sort((a, b) => a.place - b.place || b.member - a.member);
}

/** The first node at or after `place`, clockwise. The ring has at least one. */
function nextNode(ring: readonly VirtualNode[], place: number): VirtualNode {
  let low = 0;
  let high = ring.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ring[middle]!.place < place) low = middle + 1;
    else high = middle;
  }
  return ring[low % ring.length]!;
}

/**
 * Where a name lies on the ring, 0 to 2³² − 1. RocketMQ's MD5Hash: of the MD5 of the name in UTF-8 the first four bytes
 * (eight hexadecimal digits), as an unsigned number, highest byte first. In one call and as text, since that takes a third
 * of the time of `createHash`.
 */
function placeOf(name: string): number {
  return parseInt(hash('md5', name, 'hex').slice(0, 8), 16);
}
