/**
 * Thrown by the application where somebody may not do what they asked for: `audit.capture` records it as denied.
 * An application with such a class of its own gives `isDenied` instead, or lets its errors carry the status 401 or 403.
 */
export class AccessDenied extends Error {
  readonly statusCode = 403;

  constructor(message = 'access denied', options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'AccessDenied';
  }
}

/** The default of `isDenied`: AccessDenied, or an HTTP error of status 401 or 403. */
export function isAccessDenied(error: unknown): boolean {
  if (error instanceof AccessDenied) return true;
  if (typeof error !== 'object' || error === null) return false;
  const { statusCode, status } = error as { statusCode?: unknown; status?: unknown };
  const code = statusCode ?? status;
  return code === 401 || code === 403;
}
