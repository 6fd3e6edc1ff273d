import type { ConfigInput } from '../config.ts';
import { type CommandDeps, EXIT } from './command-deps.ts';
import type { Output } from './output.ts';
import { requestServer } from './request.ts';
import { requireTarget, type TargetOptions } from './target.ts';

export interface NewKeyOptions extends TargetOptions {
  readonly role: string;
  readonly tenant?: string;
  readonly note?: string;
  /** Seconds. */
  readonly lifetime?: string;
}

export interface RotateOptions extends TargetOptions {
  /** Seconds; absent: as the server has it. */
  readonly grace?: string;
}

interface ListedKey {
  id: string;
  role: string;
  tenant: string | null;
  note: string | null;
  made_at: string;
  revoked_at: string | null;
  expires_at: string | null;
  rotated_to: string | null;
}

export async function runApiKeyCreate(
  deps: CommandDeps,
  input: ConfigInput,
  options: NewKeyOptions,
  output: Output,
): Promise<number> {
  const server = await requireTarget(deps, input, options);
  const { role, tenant, note, lifetime } = options;
  const seconds = lifetime === undefined ? {} : { lifetime_seconds: Number(lifetime) };
  const body = JSON.stringify({ role, tenant, note, ...seconds });
  const answer = await requestServer(server, '/v1/api-keys', {
    method: 'POST',
    type: 'application/json',
    body,
  });
  showOnce((await answer.json()) as ListedKey & { key: string }, output);
  return EXIT.success;
}

function showOnce(made: ListedKey & { key: string }, output: Output): void {
  output.result(made);
  output.line(made.key);
  if (!output.json) process.stderr.write('This is shown once. Only its hash is kept.\n');
}

/** What has become of a key, for a person. */
function endOf({ revoked_at, expires_at, rotated_to }: ListedKey): string {
  if (revoked_at !== null) return `revoked ${revoked_at}`;
  if (rotated_to !== null) return `rotated to ${rotated_to}, ends ${expires_at}`;
  return expires_at === null ? '' : `ends ${expires_at}`;
}

export async function runApiKeyRotate(
  deps: CommandDeps,
  input: ConfigInput,
  keyId: string,
  options: RotateOptions,
  output: Output,
): Promise<number> {
  const server = await requireTarget(deps, input, options);
  const seconds = options.grace === undefined ? {} : { grace_seconds: Number(options.grace) };
  const answer = await requestServer(server, `/v1/api-keys/${encodeURIComponent(keyId)}/rotate`, {
    method: 'POST',
    type: 'application/json',
    body: JSON.stringify(seconds),
  });
  showOnce((await answer.json()) as ListedKey & { key: string }, output);
  return EXIT.success;
}

export async function runApiKeyList(
  deps: CommandDeps,
  input: ConfigInput,
  options: TargetOptions,
  output: Output,
): Promise<number> {
  const server = await requireTarget(deps, input, options);
  const answer = await requestServer(server, '/v1/api-keys');
  const list = (await answer.json()) as { keys: ListedKey[] };
  output.result(list);
  for (const key of list.keys) {
    output.line(
      `${key.id}  ${key.role.padEnd(12)} ${(key.tenant ?? '(all)').padEnd(16)} ${key.made_at} ${endOf(key)} ${key.note ?? ''}`.trimEnd(),
    );
  }
  return EXIT.success;
}

export async function runApiKeyRevoke(
  deps: CommandDeps,
  input: ConfigInput,
  keyId: string,
  options: TargetOptions,
  output: Output,
): Promise<number> {
  const server = await requireTarget(deps, input, options);
  await requestServer(server, `/v1/api-keys/${encodeURIComponent(keyId)}`, { method: 'DELETE' });
  output.result({ revoked: keyId });
  output.line(`revoked ${keyId}`);
  return EXIT.success;
}
