/** The secret that the parts share: whoever has none can register no broker. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export const SECRET_VARIABLE = 'GANTRY_CLUSTER_SECRET';

/** The given one, or that of `<data>/secret`, which is made at the first start and is for its owner's eyes alone. */
export function clusterSecret(data: string, given: string | undefined): string {
  mkdirSync(data, { recursive: true });
  if (given !== undefined && given !== '') return given;
  const path = secretPath(data);
  try {
    writeFileSync(path, `${randomBytes(24).toString('base64url')}\n`, { mode: 0o600, flag: 'wx' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  return readFileSync(path, 'utf8').trim();
}

export const secretPath = (data: string): string => join(data, 'secret');
