/**
 * Which class of OCSF an event belongs to, and which activity of that class it is: by tables over its type and its
 * action. A class is chosen only where what it requires can be filled truthfully; `ocsf.ts` falls back otherwise.
 */

import { awsStoreChoice, type StoreClassName, storeChoice } from './ocsf-stores.ts';

export type OcsfClassName =
  | StoreClassName
  | 'base_event'
  | 'account_change'
  | 'authentication'
  | 'entity_management'
  | 'user_access'
  | 'http_activity'
  | 'api_activity';

/** Identifiers of OCSF 1.8.0. */
export const OCSF_CLASSES: Readonly<
  Record<OcsfClassName, { uid: number; caption: string; category: readonly [uid: number, caption: string] }>
> = {
  base_event: { uid: 0, caption: 'Base Event', category: [0, 'Uncategorized'] },
  file_activity: { uid: 1001, caption: 'File System Activity', category: [1, 'System Activity'] },
  account_change: { uid: 3001, caption: 'Account Change', category: [3, 'Identity & Access Management'] },
  authentication: { uid: 3002, caption: 'Authentication', category: [3, 'Identity & Access Management'] },
  entity_management: {
    uid: 3004,
    caption: 'Entity Management',
    category: [3, 'Identity & Access Management'],
  },
  user_access: {
    uid: 3005,
    caption: 'User Access Management',
    category: [3, 'Identity & Access Management'],
  },
  group_management: {
    uid: 3006,
    caption: 'Group Management',
    category: [3, 'Identity & Access Management'],
  },
  http_activity: { uid: 4002, caption: 'HTTP Activity', category: [4, 'Network Activity'] },
  api_activity: { uid: 6003, caption: 'API Activity', category: [6, 'Application Activity'] },
  datastore_activity: { uid: 6005, caption: 'Datastore Activity', category: [6, 'Application Activity'] },
};

/** A class and one of its activities; 99 is `Other`, which OCSF wants named. */
export interface OcsfChoice {
  readonly name: OcsfClassName;
  readonly activity: number;
  readonly caption: string;
}

type Activities = Readonly<Record<string, readonly [id: number, caption: string]>>;

const CREATE = [1, 'Create'] as const;
const READ = [2, 'Read'] as const;
const UPDATE = [3, 'Update'] as const;
const DELETE = [4, 'Delete'] as const;

/** Words with which actions begin or end. */
const CRUD: Activities = {
  add: CREATE,
  allocate: CREATE,
  create: CREATE,
  insert: CREATE,
  issue: CREATE,
  open: CREATE,
  post: CREATE,
  register: CREATE,
  run: CREATE,
  upload: CREATE,
  describe: READ,
  download: READ,
  export: READ,
  get: READ,
  head: READ,
  list: READ,
  lookup: READ,
  query: READ,
  read: READ,
  search: READ,
  show: READ,
  view: READ,
  vread: READ,
  watch: READ,
  assign: UPDATE,
  associate: UPDATE,
  attach: UPDATE,
  authorize: UPDATE,
  change: UPDATE,
  detach: UPDATE,
  disassociate: UPDATE,
  edit: UPDATE,
  grant: UPDATE,
  modify: UPDATE,
  patch: UPDATE,
  put: UPDATE,
  replace: UPDATE,
  restore: UPDATE,
  revoke: UPDATE,
  rotate: UPDATE,
  set: UPDATE,
  tag: UPDATE,
  untag: UPDATE,
  update: UPDATE,
  write: UPDATE,
  delete: DELETE,
  deletecollection: DELETE,
  deregister: DELETE,
  destroy: DELETE,
  drop: DELETE,
  release: DELETE,
  remove: DELETE,
  terminate: DELETE,
};

const ENTITY: Activities = {
  ...CRUD,
  move: [5, 'Move'],
  enroll: [6, 'Enroll'],
  unenroll: [7, 'Unenroll'],
  enable: [8, 'Enable'],
  disable: [9, 'Disable'],
  activate: [10, 'Activate'],
  deactivate: [11, 'Deactivate'],
  suspend: [12, 'Suspend'],
  resume: [13, 'Resume'],
};

const LOGON = [1, 'Logon'] as const;
const LOGOFF = [2, 'Logoff'] as const;

/** Whole actions, or their last word. */
const SIGN_IN: Activities = {
  login: LOGON,
  logon: LOGON,
  signin: LOGON,
  consolelogin: LOGON,
  authenticate: LOGON,
  logout: LOGOFF,
  logoff: LOGOFF,
  signout: LOGOFF,
  switchrole: [7, 'Account Switch'],
  // DICOM's codes, which FHIR AuditEvent uses.
  '110122': LOGON,
  '110123': LOGOFF,
};

const SESSION: Activities = { create: LOGON, open: LOGON, close: LOGOFF, delete: LOGOFF, end: LOGOFF };

const ACCOUNT: Activities = {
  create: [1, 'Create'],
  register: [1, 'Create'],
  enable: [2, 'Enable'],
  activate: [2, 'Enable'],
  disable: [5, 'Disable'],
  deactivate: [5, 'Disable'],
  suspend: [5, 'Disable'],
  delete: [6, 'Delete'],
  remove: [6, 'Delete'],
  lock: [9, 'Lock'],
  unlock: [12, 'Unlock'],
};

const PASSWORD: Activities = {
  change: [3, 'Password Change'],
  update: [3, 'Password Change'],
  reset: [4, 'Password Reset'],
};
const MFA: Activities = { enable: [10, 'MFA Factor Enable'], disable: [11, 'MFA Factor Disable'] };

const ASSIGN = [1, 'Assign Privileges'] as const;
const REVOKE = [2, 'Revoke Privileges'] as const;
const PRIVILEGE: Activities = {
  add: ASSIGN,
  assign: ASSIGN,
  grant: ASSIGN,
  remove: REVOKE,
  revoke: REVOKE,
  unassign: REVOKE,
};

/** CloudTrail's names of what AWS IAM and its sign-in do to a user. */
const AWS_ACCOUNT: Activities = {
  CreateUser: [1, 'Create'],
  DeleteUser: [6, 'Delete'],
  ChangePassword: [3, 'Password Change'],
  UpdateLoginProfile: [4, 'Password Reset'],
  AttachUserPolicy: [7, 'Attach Policy'],
  DetachUserPolicy: [8, 'Detach Policy'],
  EnableMFADevice: [10, 'MFA Factor Enable'],
  DeactivateMFADevice: [11, 'MFA Factor Disable'],
  UpdateUser: [99, 'UpdateUser'],
  CreateLoginProfile: [99, 'CreateLoginProfile'],
  DeleteLoginProfile: [99, 'DeleteLoginProfile'],
  CreateAccessKey: [99, 'CreateAccessKey'],
  DeleteAccessKey: [99, 'DeleteAccessKey'],
};

const AWS_USER_ACCESS: Activities = { PutUserPolicy: ASSIGN, DeleteUserPolicy: REVOKE };

/** What an administrator manages, beside users. */
const ENTITY_NOUNS =
  /^(?:role|group|policy|permission|organi[sz]ation|org|tenant|team|department|instanceprofile|apikey|alertrule|savedsearch|serviceaccount|rolebinding|clusterrole|clusterrolebinding)s?$/;
const PRIVILEGE_NOUNS = /^(?:role|permission|privilege|access)s?$/;
const USER_NOUNS = /^(?:user|member|identity|login)s?$/;

/** HTTP methods as OCSF counts them. */
const METHODS: Readonly<Record<string, number>> = {
  CONNECT: 1,
  DELETE: 2,
  GET: 3,
  HEAD: 4,
  OPTIONS: 5,
  POST: 6,
  PUT: 7,
  TRACE: 8,
  PATCH: 9,
};

const own = (table: Activities, word: string) => (Object.hasOwn(table, word) ? table[word] : undefined);

/** `bank.api-key.rotate` → bank, apikey, rotate; `DeleteRouteTable` → delete, route, table. */
function words(action: string): { parts: string[]; camel: string[] } {
  const last = action.slice(action.lastIndexOf(':') + 1);
  const parts = last
    .toLowerCase()
    .split(/[./ ]+/)
    .map((part) => part.replace(/[^a-z0-9]/g, ''))
    .filter((part) => part !== '');
  const camel = last.match(/[A-Z][a-z]+/g)?.map((part) => part.toLowerCase()) ?? [];
  return { parts, camel };
}

const choice = (name: OcsfClassName, [activity, caption]: readonly [number, string]): OcsfChoice => ({
  name,
  activity,
  caption,
});

/** An HTTP request by its method. */
export function httpChoice(method: string | null): OcsfChoice {
  if (method === null || method === '') return choice('http_activity', [0, 'Unknown']);
  const id = Object.hasOwn(METHODS, method) ? METHODS[method] : undefined;
  if (id === undefined) return choice('http_activity', [99, method]);
  return choice('http_activity', [id, method[0] + method.slice(1).toLowerCase()]);
}

/** A call of an interface: the class that every event with an action has a place in. */
export function apiChoice(action: string): OcsfChoice {
  const { parts, camel } = words(action);
  const candidates = [camel[0], parts.at(-1), parts[0]];
  for (const word of candidates) {
    const found = word === undefined ? undefined : own(CRUD, word);
    if (found !== undefined) return choice('api_activity', found);
  }
  return choice('api_activity', [99, action]);
}

function awsChoice(action: string): OcsfChoice | null {
  const store = awsStoreChoice(action);
  if (store !== null) return store;
  const [service, name] = [action.slice(0, action.indexOf(':')), action.slice(action.indexOf(':') + 1)];
  const found = own(AWS_ACCOUNT, name);
  if (service.startsWith('iam') && found !== undefined) return choice('account_change', found);
  const access = own(AWS_USER_ACCESS, name);
  if (service.startsWith('iam') && access !== undefined) return choice('user_access', access);
  const signIn = own(SIGN_IN, name.toLowerCase());
  if (service.startsWith('signin')) return choice('authentication', signIn ?? [99, name]);
  const entity = /^([A-Z][a-z]+)(Role|Group|Policy|InstanceProfile)$/.exec(name);
  const managed = entity === null ? undefined : own(ENTITY, entity[1].toLowerCase());
  if (service.startsWith('iam') && managed !== undefined) return choice('entity_management', managed);
  return null;
}

/**
 * The class of an action.
 * @param resourceType kind of the resource, where the event names one
 */
export function chooseClass(type: string, action: string, resourceType: string | null): OcsfChoice {
  const foreign = type === 'cloudtrail' ? awsChoice(action) : null;
  if (foreign !== null) return foreign;
  const { parts } = words(action);
  const verb = parts.at(-1) ?? '';
  // Of `rolebindings.rbac.authorization.k8s.io` and `pods/exec` the first part.
  const kind = (resourceType ?? '').split(/[./]/)[0];
  const noun = parts.at(-2) ?? kind.toLowerCase().replace(/[^a-z0-9]/g, '');
  const store = storeChoice(parts, noun);
  if (store !== null) return store;
  const signIn = own(SIGN_IN, verb) ?? (noun === 'session' ? own(SESSION, verb) : undefined);
  if (signIn !== undefined) return choice('authentication', signIn);
  const account =
    (noun === 'password' ? own(PASSWORD, verb) : undefined) ??
    (noun === 'mfa' ? own(MFA, verb) : undefined) ??
    (USER_NOUNS.test(noun) ? own(ACCOUNT, verb) : undefined);
  if (account !== undefined) return choice('account_change', account);
  const privilege = PRIVILEGE_NOUNS.test(noun) ? own(PRIVILEGE, verb) : undefined;
  if (privilege !== undefined) return choice('user_access', privilege);
  const entity = ENTITY_NOUNS.test(noun) ? own(ENTITY, verb) : undefined;
  return entity === undefined ? apiChoice(action) : choice('entity_management', entity);
}
