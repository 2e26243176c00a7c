/** Chance, as a parameter: tests pass a seeded source. This file is the one door to randomness. */
import { randomBytes, randomInt } from 'node:crypto';

export interface Chance {
  /** `count` random bytes, fit for secrets. */
  bytes(count: number): Buffer;
  /** A whole number from 0 up to but not including `bound` (1..2^48-1). */
  below(bound: number): number;
}

export const systemChance: Chance = {
  bytes: (count) => randomBytes(count),
  below: (bound) => randomInt(bound),
};
