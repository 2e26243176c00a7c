/**
 * Message ids with RocketMQ's layout (MessageClientIDSetter): IPv4 (4 bytes), process id (low 2), a mark of the process
 * (4), milliseconds since the month began in UTC (4), a counter (2): 32 upper-case hex digits. RocketMQ's mark is a
 * class loader's hash, which repeats in containers (duplicates were reported); ours is random per process.
 */
import type { Chance } from './chance';
import type { Clock } from './clock';

export const MESSAGE_ID_BYTES = 16;

export interface MessageIdOptions {
  clock: Clock;
  chance: Chance;
  /** Dotted IPv4 address of this process's host. */
  address: string;
  pid: number;
}

export class MessageIds {
  readonly #clock: Clock;
  readonly #prefix: Buffer;
  #counter: number;
  #monthStart = 0;
  #monthEnd = 0;

  constructor(options: MessageIdOptions) {
    this.#clock = options.clock;
    this.#prefix = Buffer.concat([ipv4Bytes(options.address), Buffer.alloc(2), options.chance.bytes(4)]);
    this.#prefix.writeUInt16BE(options.pid & 0xffff, 4);
    this.#counter = options.chance.below(0x10000);
  }

  /** Writes `count` ids, one behind the other, into `target`; those of one call share the millisecond. */
  write(count: number): Buffer {
    const now = this.#clock.now();
    if (now >= this.#monthEnd || now < this.#monthStart) this.#enterMonth(now);
    const ids = Buffer.allocUnsafe(count * MESSAGE_ID_BYTES);
    for (let i = 0, at = 0; i < count; i++, at += MESSAGE_ID_BYTES) {
      this.#prefix.copy(ids, at);
      ids.writeUInt32BE(now - this.#monthStart, at + 10);
      ids.writeUInt16BE(this.#counter, at + 14);
      this.#counter = (this.#counter + 1) & 0xffff;
    }
    return ids;
  }

  #enterMonth(now: number): void {
    const date = new Date(now);
    this.#monthStart = Date.UTC(date.getUTCFullYear(), date.getUTCMonth());
    this.#monthEnd = Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1);
  }
}

/** The four bytes of a dotted IPv4 address; anything else (a host name, IPv6) becomes 127.0.0.1, as ids need four bytes. */
export function ipv4Bytes(address: string): Buffer {
  const parts = address.split('.').map(Number);
  const valid = parts.length === 4 && parts.every((part) => Number.isInteger(part) && part >= 0 && part <= 255);
  return Buffer.from(valid ? parts : [127, 0, 0, 1]);
}

export const hexOf = (id: Buffer): string => id.toString('hex').toUpperCase();
