/** The two hashes whose values are part of the contract with the outside; neither may ever change. */

/**
 * Java's String.hashCode over UTF-16 units, a signed 32-bit number; RocketMQ's tagsCode. 0 stands for "no tag", so the
 * few tags that hash to 0 are told apart by comparing strings, as all equal hashes are.
 */
export function tagHash(tag: string): number {
  let hash = 0;
  for (let i = 0; i < tag.length; i++) hash = (Math.imul(hash, 31) + tag.charCodeAt(i)) | 0;
  return hash;
}

/** murmur2 over the UTF-8 bytes of a messageGroup, so that it lands where the same bytes as a key would. */
export const messageGroupHash = (group: string): number => murmur2(Buffer.from(group, 'utf8'));

/** 32-bit murmur2 with Kafka's seed, made positive as Kafka's default partitioner does (sign bit dropped). */
export function murmur2(data: Buffer): number {
  const m = 0x5bd1e995;
  let h = 0x9747b28c ^ data.length;
  const words = data.length >> 2;
  for (let i = 0; i < words; i++) {
    let k = Math.imul(data.readInt32LE(i * 4), m);
    k ^= k >>> 24;
    h = Math.imul(h, m) ^ Math.imul(k, m);
  }
  const tail = words * 4;
  const rest = data.length - tail;
  if (rest >= 3) h ^= data[tail + 2]! << 16;
  if (rest >= 2) h ^= data[tail + 1]! << 8;
  if (rest >= 1) h = Math.imul(h ^ data[tail]!, m);
  h = Math.imul(h ^ (h >>> 13), m);
  h ^= h >>> 15;
  return h & 0x7fffffff;
}
