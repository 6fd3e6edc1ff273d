/** The settings PostgreSQL is started with. They are given on the command line: no file is edited. */

import type { EngineAddress } from './address.ts';

export interface ServerSettings {
  /** MB; default 256. Memory of PostgreSQL's own cache; safe to change between starts. */
  sharedBuffersMb?: number;
  /** Default 60. */
  connectionsMax?: number;
}

/**
 * The npm build has no lz4: `wal_compression` and `default_toast_compression` stay at their defaults. pglz for
 * the WAL was left out: it spends CPU in the append path, which is the scarce thing on the machines this mode is for.
 */
export function serverArguments(
  directory: string,
  address: EngineAddress,
  settings: ServerSettings,
): string[] {
  const values: Record<string, string | number> = {
    listen_addresses: address.kind === 'tcp' ? address.host : '',
    unix_socket_directories: address.kind === 'unix' ? quoteListItem(address.host) : '',
    unix_socket_permissions: '0700',
    port: address.port,
    max_connections: settings.connectionsMax ?? 60,
    shared_buffers: `${settings.sharedBuffersMb ?? 256}MB`,
    // Durability is the product: these three are the defaults, and are said so that no file can unsay them.
    fsync: 'on',
    full_page_writes: 'on',
    synchronous_commit: 'on',
    wal_level: 'logical',
    max_wal_size: '4GB',
    min_wal_size: '512MB',
    checkpoint_timeout: '15min',
    autovacuum: 'on',
    jit: 'off',
    timezone: 'UTC',
    log_timezone: 'UTC',
    log_destination: 'stderr',
    logging_collector: 'off',
    log_checkpoints: 'off',
    lc_messages: 'C',
    cluster_name: 'evident',
  };
  return ['-D', directory, ...Object.entries(values).flatMap(([name, value]) => ['-c', `${name}=${value}`])];
}

/** `unix_socket_directories` is a list: a comma or a blank in a path would split it. */
function quoteListItem(path: string): string {
  return `"${path.replaceAll('"', '""')}"`;
}
