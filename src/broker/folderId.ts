/** The public name of a data folder, by which NameServers tell two brokers of one name apart. */
import { createHash } from 'node:crypto';
import type { Identity } from './command';

/**
 * 32 hexadecimal digits. They follow from the secret that each folder draws when it is created, so every folder has its
 * own, and folders of earlier versions have one, too; the secret does not follow from them.
 */
export const folderIdOf = ({ secret }: Identity): string =>
  createHash('sha256').update('gantry folder ').update(secret).digest('hex').slice(0, 32);
