/** Classes of OCSF about what holds data, and about groups: 1001, 6005 and 3006, by tables, and what they require. */

import type { EventRow } from '../mapping/row.ts';
import type { LogRecord } from '../record.ts';
import type { OcsfExtra } from './ocsf-body.ts';

export type StoreClassName = 'file_activity' | 'datastore_activity' | 'group_management';

export interface StoreChoice {
  readonly name: StoreClassName;
  readonly activity: number;
  readonly caption: string;
}

type Activities = Readonly<Record<string, readonly [id: number, caption: string]>>;

const FILE_CREATE = [1, 'Create'] as const;
const FILE_READ = [2, 'Read'] as const;
const FILE_UPDATE = [3, 'Update'] as const;
const FILE_DELETE = [4, 'Delete'] as const;
const FILE_RENAME = [5, 'Rename'] as const;

/** What is done to files and folders, by the last word of the action. */
const FILE: Activities = {
  create: FILE_CREATE,
  upload: FILE_CREATE,
  read: FILE_READ,
  view: FILE_READ,
  download: FILE_READ,
  edit: FILE_UPDATE,
  modify: FILE_UPDATE,
  update: FILE_UPDATE,
  write: FILE_UPDATE,
  delete: FILE_DELETE,
  remove: FILE_DELETE,
  move: FILE_RENAME,
  rename: FILE_RENAME,
  encrypt: [10, 'Encrypt'],
  decrypt: [11, 'Decrypt'],
  open: [14, 'Open'],
};

const READ = [1, 'Read'] as const;
const UPDATE = [2, 'Update'] as const;
const QUERY = [4, 'Query'] as const;
const WRITE = [5, 'Write'] as const;
const CREATE = [6, 'Create'] as const;
const DELETE = [7, 'Delete'] as const;
const LIST = [8, 'List'] as const;

/** What is done to databases, tables and buckets, by the last word of the action. */
const STORE: Activities = {
  read: READ,
  get: READ,
  select: READ,
  update: UPDATE,
  modify: UPDATE,
  connect: [3, 'Connect'],
  query: QUERY,
  search: QUERY,
  insert: WRITE,
  put: WRITE,
  write: WRITE,
  create: CREATE,
  delete: DELETE,
  drop: DELETE,
  remove: DELETE,
  list: LIST,
  encrypt: [9, 'Encrypt'],
  decrypt: [10, 'Decrypt'],
};

/** CloudTrail's names of what is done to the data in S3 and DynamoDB, and to what holds it. */
const AWS_STORE: Readonly<Record<string, Activities>> = {
  s3: {
    GetObject: READ,
    HeadObject: READ,
    PutObject: WRITE,
    CopyObject: WRITE,
    DeleteObject: DELETE,
    DeleteObjects: DELETE,
    ListObjects: LIST,
    ListObjectsV2: LIST,
    ListObjectVersions: LIST,
    CreateBucket: CREATE,
    DeleteBucket: DELETE,
  },
  dynamodb: {
    GetItem: READ,
    Scan: READ,
    Query: QUERY,
    PutItem: WRITE,
    UpdateItem: UPDATE,
    DeleteItem: DELETE,
    CreateTable: CREATE,
    UpdateTable: UPDATE,
    DeleteTable: DELETE,
  },
};

const ASSIGN = [1, 'Assign Privileges'] as const;
const REVOKE = [2, 'Revoke Privileges'] as const;
const ADD_USER = [3, 'Add User'] as const;
const REMOVE_USER = [4, 'Remove User'] as const;

/** What is done to groups; what only reads or renames one stays Entity Management. */
const GROUP: Activities = { create: [6, 'Create'], delete: [5, 'Delete'], remove: [5, 'Delete'] };
const GROUP_USER: Activities = { add: ADD_USER, assign: ADD_USER, remove: REMOVE_USER };
const GROUP_PRIVILEGE: Activities = {
  add: ASSIGN,
  assign: ASSIGN,
  grant: ASSIGN,
  remove: REVOKE,
  revoke: REVOKE,
};
const AWS_GROUP: Activities = {
  CreateGroup: [6, 'Create'],
  DeleteGroup: [5, 'Delete'],
  AddUserToGroup: ADD_USER,
  RemoveUserFromGroup: REMOVE_USER,
  AttachGroupPolicy: ASSIGN,
  PutGroupPolicy: ASSIGN,
  DetachGroupPolicy: REVOKE,
  DeleteGroupPolicy: REVOKE,
};

const FILE_NOUNS = /^(?:file|folder|directory)$/;
const FOLDER = /folder|directory/i;
/** A table alone may stand in a restaurant. */
const STORE_NOUNS = /^(?:database|datastore|databucket|bucket|databasetable|dbtable)$/;
const TABLE = /table$/i;
const BUCKET = /bucket$/i;
const MEMBER = /^(?:user|member)s?$/;
const PRIVILEGE = /^(?:role|permission|privilege|policy)s?$/;

const own = (table: Activities | undefined, word: string) =>
  table !== undefined && Object.hasOwn(table, word) ? table[word] : undefined;

function choose(
  name: StoreClassName,
  found: readonly [activity: number, caption: string] | undefined,
): StoreChoice | null {
  return found === undefined ? null : { name, activity: found[0], caption: found[1] };
}

/** @param action `<service>:<Name>` */
export function awsStoreChoice(action: string): StoreChoice | null {
  const [service, name = ''] = action.split(':');
  if (service === 'iam') return choose('group_management', own(AWS_GROUP, name));
  const activities = Object.hasOwn(AWS_STORE, service) ? AWS_STORE[service] : undefined;
  return choose('datastore_activity', own(activities, name));
}

/** @param parts words of the action, and `noun`, the one before the verb or else the kind of the resource */
export function storeChoice(parts: readonly string[], noun: string): StoreChoice | null {
  const verb = parts.at(-1) ?? '';
  if (FILE_NOUNS.test(noun)) return choose('file_activity', own(FILE, verb));
  const isStore = STORE_NOUNS.test(noun) || (noun === 'table' && parts.at(-3) === 'database');
  if (isStore) return choose('datastore_activity', own(STORE, verb));
  if (noun === 'group') return choose('group_management', own(GROUP, verb));
  if (parts.at(-3) !== 'group') return null;
  if (MEMBER.test(noun)) return choose('group_management', own(GROUP_USER, verb));
  return PRIVILEGE.test(noun) ? choose('group_management', own(GROUP_PRIVILEGE, verb)) : null;
}

interface Parts {
  readonly record: LogRecord;
  readonly row: EventRow | null;
  readonly extra: OcsfExtra;
}

/** The last part of a path; the whole where it has none. */
function nameOf(path: string): string {
  return (
    path
      .replace(/[/\\]+$/, '')
      .split(/[/\\]/)
      .at(-1) || path
  );
}

/** Null where the event names no file. The machine is that of `details.host`, or else the source that captured it. */
export function fileOf({ record, row, extra }: Parts): Record<string, unknown> | null {
  const uid = row?.resourceId ?? null;
  if (uid === null) return null;
  const path = extra.resourceName ?? uid;
  const [type_id, type] = FOLDER.test(row?.resourceType ?? '') ? [2, 'Folder'] : [1, 'Regular File'];
  const isPath = /[/\\]/.test(path);
  return {
    file: { name: nameOf(path), ...(isPath ? { path } : {}), uid, type_id, type },
    device: { name: extra.host ?? record.source, type_id: 0, type: 'Unknown' },
  };
}

/** Null where the event names no database, table or bucket. */
export function datastoreOf({ record, row, extra }: Parts): Record<string, unknown> | null {
  if (record.type === 'cloudtrail') {
    if (extra.bucket !== undefined)
      return { type_id: 2, type: 'Databucket', databucket: { name: extra.bucket, type_id: 1, type: 'S3' } };
    return extra.table === undefined
      ? null
      : { type_id: 3, type: 'Table', table: { [isArn(extra.table) ? 'uid' : 'name']: extra.table } };
  }
  const uid = row?.resourceId ?? null;
  if (uid === null) return null;
  const kind = row?.resourceType ?? '';
  if (TABLE.test(kind)) return { type_id: 3, type: 'Table', table: { uid } };
  const unknown = { uid, type_id: 0, type: 'Unknown' };
  if (BUCKET.test(kind)) return { type_id: 2, type: 'Databucket', databucket: unknown };
  return { type_id: 1, type: 'Database', database: unknown };
}

const isArn = (text: string): boolean => text.startsWith('arn:');

/** Null where the event names no group. */
export function groupOf({ record, row, extra }: Parts): { uid?: string; name?: string } | null {
  if (record.type === 'cloudtrail') return extra.group === undefined ? null : { name: extra.group };
  const isGroup = /group/i.test(row?.resourceType ?? '');
  if (isGroup && row?.resourceId != null) return { uid: row.resourceId };
  return extra.group === undefined ? null : { name: extra.group };
}
