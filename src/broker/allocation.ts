/** Which member of a group reads which queue: pure functions of the sorted members and the topic's list of queues. */

/**
 * RocketMQ's AVG (AllocateMessageQueueAveragely): each member gets a contiguous stretch, the first ones one queue more
 * when it does not divide evenly. Answers, by position of the member, positions of queues.
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
