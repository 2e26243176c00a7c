/**
 * Baseline (b), a process of its own: the rocksdb package writing 1 KiB values under keys in journal order in synced
 * batches of 256, one after the other, nothing else. Its argument is the folder; asked for so many milliseconds, it
 * answers how many values it wrote in them. Options as storage/rocksdbEngine.ts gives them to the journal.
 */
import rocksdb from 'rocksdb';

const VALUE = Buffer.alloc(1024, 'Gantry');
const BATCH = 256;

interface Native {
  open(options: object, done: (error?: Error | null) => void): void;
  batch(): NativeBatch;
}
interface NativeBatch {
  put(key: Buffer, value: Buffer): void;
  write(options: { sync: boolean }, done: (error?: Error | null) => void): void;
}

const db = new (rocksdb as unknown as new (location: string) => Native)(process.argv[2]!);
let position = 0;

function writeBatch(): Promise<void> {
  const batch = db.batch();
  for (let i = 0; i < BATCH; i++) {
    const key = Buffer.allocUnsafe(9);
    key[0] = 0x6a;
    key.writeBigUInt64BE(BigInt(position++), 1);
    batch.put(key, VALUE);
  }
  return new Promise((resolve, reject) => {
    batch.write({ sync: true }, (error) => (error ? reject(error) : resolve()));
  });
}

async function writeFor(ms: number): Promise<void> {
  const began = performance.now();
  const from = position;
  while (performance.now() - began < ms) await writeBatch();
  process.send!({ messages: position - from, ms: performance.now() - began });
}

db.open({ createIfMissing: true, compression: false, writeBufferSize: 32 << 20 }, (error) => {
  if (error) throw error;
  process.on('message', ({ ms }: { ms: number }) => void writeFor(ms));
  process.on('disconnect', () => process.exit(0));
  process.send!({ open: true });
});
