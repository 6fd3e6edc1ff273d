import type { ConfigInput } from '../config.ts';
import { type CommandDeps, EXIT } from './command-deps.ts';
import type { Output } from './output.ts';
import { requestServer } from './request.ts';
import { requireTarget, type TargetOptions } from './target.ts';

export interface NewKeyOptions extends TargetOptions {
  readonly role: string;
  readonly tenant?: string;
  readonly note?: string;
}

interface ListedKey {
  id: string;
  role: string;
  tenant: string | null;
  note: string | null;
  made_at: string;
  revoked_at: string | null;
}

export async function runApiKeyCreate(
  deps: CommandDeps,
  input: ConfigInput,
  options: NewKeyOptions,
  output: Output,
): Promise<number> {
  const server = await requireTarget(deps, input, options);
  const body = JSON.stringify({ role: options.role, tenant: options.tenant, note: options.note });
  const answer = await requestServer(server, '/v1/api-keys', {
    method: 'POST',
    type: 'application/json',
    body,
  });
  const made = (await answer.json()) as ListedKey & { key: string };
  output.result(made);
  output.line(made.key);
  if (!output.json) process.stderr.write('This is shown once. Only its hash is kept.\n');
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
      `${key.id}  ${key.role.padEnd(8)} ${(key.tenant ?? '(all)').padEnd(16)} ${key.made_at} ${key.revoked_at === null ? '' : `revoked ${key.revoked_at}`} ${key.note ?? ''}`.trimEnd(),
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
