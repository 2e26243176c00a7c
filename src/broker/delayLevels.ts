/** RocketMQ's 18 delay levels (MessageStoreConfig's messageDelayLevel): the delays of scheduled messages, and of retries from level 3 on. */
const S = 1000;
const M = 60 * S;
const H = 60 * M;

/** Milliseconds of level 1, 2 … 18. */
export const DELAY_LEVELS_MS: readonly number[] = [
  ...[S, 5 * S, 10 * S, 30 * S],
  ...[M, 2 * M, 3 * M, 4 * M, 5 * M, 6 * M, 7 * M, 8 * M, 9 * M, 10 * M, 20 * M, 30 * M],
  ...[H, 2 * H],
];
