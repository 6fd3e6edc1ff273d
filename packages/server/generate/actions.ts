/** What people and machines of the generated company do, how often, and how often it fails or is denied. */

export type ResourceKind =
  | 'document'
  | 'folder'
  | 'comment'
  | 'session'
  | 'user'
  | 'role'
  | 'api_key'
  | 'report'
  | 'invoice'
  | 'customer'
  | 'config'
  | 'webhook'
  | 'job';

export type ChangeKind = 'text' | 'access' | 'status' | 'amount' | 'setting';

export interface Action {
  readonly name: string;
  readonly resource: ResourceKind;
  /** How often, beside the others of its kind of actor. */
  readonly weight: number;
  /** Of 1,000, how many fail, and how many are denied. */
  readonly failure: number;
  readonly denied: number;
  readonly changes?: ChangeKind;
  readonly critical?: true;
}

const action = (
  name: string,
  resource: ResourceKind,
  weight: number,
  [failure, denied]: readonly [failure: number, denied: number] = [4, 12],
  rest: Pick<Action, 'changes' | 'critical'> = {},
): Action => ({ name, resource, weight, failure, denied, ...rest });

/** What begins a session of a user, and what is tried when that fails: the same. */
export const LOGIN = action('login', 'session', 1, [80, 15]);
export const LOGOUT = action('logout', 'session', 1, [0, 0]);

export const USER_ACTIONS: readonly Action[] = [
  action('document.view', 'document', 300, [2, 18]),
  action('document.update', 'document', 130, [8, 14], { changes: 'text' }),
  action('document.create', 'document', 34),
  action('document.delete', 'document', 7, [4, 60]),
  action('document.restore', 'document', 2),
  action('document.share', 'document', 22, [4, 40], { changes: 'access' }),
  action('document.download', 'document', 44, [6, 25]),
  action('folder.create', 'folder', 6),
  action('folder.move', 'folder', 4, [10, 20]),
  action('comment.create', 'comment', 48),
  action('comment.delete', 'comment', 4),
  action('search.query', 'report', 62, [9, 0]),
  action('report.run', 'report', 20, [22, 10]),
  action('report.schedule', 'report', 3),
  action('export', 'report', 9, [25, 70], { critical: true }),
  action('invoice.view', 'invoice', 60, [2, 22]),
  action('invoice.create', 'invoice', 14),
  action('invoice.approve', 'invoice', 11, [5, 45], { changes: 'status', critical: true }),
  action('invoice.pay', 'invoice', 9, [30, 30], { changes: 'amount', critical: true }),
  action('invoice.cancel', 'invoice', 2, [5, 50], { changes: 'status' }),
  action('customer.view', 'customer', 56, [2, 20]),
  action('customer.update', 'customer', 16, [8, 18], { changes: 'text' }),
  action('customer.merge', 'customer', 1, [40, 40]),
  action('permission.grant', 'user', 5, [4, 90], { changes: 'access', critical: true }),
  action('permission.revoke', 'user', 3, [4, 40], { changes: 'access', critical: true }),
  action('role.assign', 'role', 2, [4, 80], { changes: 'access', critical: true }),
  action('role.remove', 'role', 1, [4, 40], { changes: 'access', critical: true }),
  action('user.invite', 'user', 2),
  action('user.update', 'user', 4, [4, 12], { changes: 'text' }),
  action('user.deactivate', 'user', 1, [4, 50], { critical: true }),
  action('password.change', 'user', 4, [90, 0]),
  action('apikey.create', 'api_key', 1, [4, 60], { critical: true }),
  action('apikey.revoke', 'api_key', 1, [4, 20], { critical: true }),
  action('config.view', 'config', 5, [2, 60]),
  action('config.change', 'config', 3, [8, 110], { changes: 'setting', critical: true }),
  action('session.revoke', 'session', 1),
];

export const MACHINE_ACTIONS: readonly Action[] = [
  action('webhook.deliver', 'webhook', 90, [70, 0]),
  action('job.run', 'job', 120, [18, 0]),
  action('integration.sync', 'customer', 60, [40, 6], { changes: 'text' }),
  action('invoice.remind', 'invoice', 25, [12, 0]),
  action('report.run', 'report', 18, [15, 0]),
  action('backup.run', 'job', 6, [10, 0]),
  action('retention.apply', 'document', 5, [4, 0], { critical: true }),
];

/** How many there are of each kind of resource in one tenant. */
export const RESOURCE_COUNTS: Readonly<Record<ResourceKind, number>> = {
  document: 1_500,
  folder: 140,
  comment: 900,
  session: 1,
  user: 200,
  role: 12,
  api_key: 30,
  report: 70,
  invoice: 800,
  customer: 450,
  config: 36,
  webhook: 18,
  job: 24,
};

export const ERRORS: readonly string[] = [
  'upstream timed out after 30000 ms',
  'version conflict: the document has changed',
  'connection reset by peer',
  'validation failed: a required field is empty',
  'payment provider answered 502',
];
export const DENIALS: readonly string[] = [
  'role does not allow this action',
  'resource belongs to another department',
  'session is older than the policy allows',
  'outside of the allowed network',
];
export const SETTINGS: readonly (readonly [name: string, low: number, high: number])[] = [
  ['session_minutes', 15, 480],
  ['password_length_min', 8, 20],
  ['retention_days', 30, 2_555],
  ['rate_limit_per_minute', 60, 6_000],
];
export const WORDS: readonly string[] =
  'annual audit board budget contract delivery draft forecast goals hiring launch meeting north offer onboarding partner plan policy pricing quarter review risk roadmap south supplier terms training travel update vendor'.split(
    ' ',
  );
export const GRANTS: readonly string[] = ['read', 'comment', 'write', 'approve', 'admin'];
export const STATUSES: readonly string[] = ['draft', 'open', 'approved', 'paid', 'cancelled'];
