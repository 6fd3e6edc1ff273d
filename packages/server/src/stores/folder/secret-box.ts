/**
 * Seals small secrets with a key in the data directory: `<data>/webhook.key`, 32 random bytes as hex, mode 0600, made once.
 *
 *     "EVS1" | nonce, 12 bytes | AES-256-GCM of the secret | tag, 16 bytes
 *
 * Authenticated with it is the id of the webhook. Nonces are random: at 20 webhooks a tenant, each sealed once or twice,
 * far from 2^32 under one key (NIST SP 800-38D, 8.3).
 */

import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { EvidentError } from '@evident/core/errors.ts';
import type { SecretBox } from '../../alerts/ports.ts';
import { errnoOf, storageFault, writeFileDurably } from '../durable-file.ts';

const FILE = 'webhook.key';
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const MARK = Buffer.from('EVS1');
/** A secret is 24 to 64 bytes (`alerts/webhook.ts` makes 32), and one as it is has no such mark but by a chance of 2^-32. */
const SEALED_BYTES_MIN = MARK.length + NONCE_BYTES + TAG_BYTES;

function readKey(dataDir: string): Buffer {
  const path = join(dataDir, FILE);
  try {
    const key = Buffer.from(readFileSync(path, 'utf8').trim(), 'hex');
    if (key.length === KEY_BYTES) return key;
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw storageFault(error, dataDir, `read its file "${FILE}"`);
    const key = randomBytes(KEY_BYTES);
    try {
      // Durable before anything is sealed with it.
      writeFileDurably(path, `${key.toString('hex')}\n`, 0o600);
    } catch (fault) {
      throw storageFault(fault, dataDir, `write its file "${FILE}"`);
    }
    return key;
  }
  // Never replaced by itself: what was sealed with it would be lost.
  throw new EvidentError(
    'data-unwritable',
    `${path} holds no key of ${KEY_BYTES} bytes in hex. Put back the one that was there; without it secrets of webhooks do not open, and webhooks have to be made anew.`,
  );
}

/** @throws data-unwritable, disk-full */
export function openSecretBox(dataDir: string): SecretBox {
  const key = readKey(dataDir);
  const isSealed = (stored: Uint8Array) =>
    stored.length > SEALED_BYTES_MIN && MARK.equals(stored.subarray(0, MARK.length));
  return {
    isSealed,
    seal(id, secret) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(id));
      const sealed = Buffer.concat([cipher.update(secret), cipher.final()]);
      return new Uint8Array(Buffer.concat([MARK, nonce, sealed, cipher.getAuthTag()]));
    },
    open(id, stored) {
      if (!isSealed(stored)) return stored;
      const nonce = stored.subarray(MARK.length, MARK.length + NONCE_BYTES);
      const sealed = stored.subarray(MARK.length + NONCE_BYTES, -TAG_BYTES);
      try {
        const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
        decipher.setAAD(Buffer.from(id)).setAuthTag(stored.subarray(-TAG_BYTES));
        return new Uint8Array(Buffer.concat([decipher.update(sealed), decipher.final()]));
      } catch {
        return null;
      }
    },
  };
}
