/**
 * The one error type. `code` is API: it decides the HTTP status, the `reason` of the Kubernetes `Status` body and the exit code of the CLI.
 * Shape of the body: Kubernetes API conventions, "Response Status Kind".
 */

type CodeFacts = { readonly status: number; readonly exit: number };

export const errorCodes = {
  BadRequest: { status: 400, exit: 6 },
  Unauthorized: { status: 401, exit: 5 },
  Forbidden: { status: 403, exit: 5 },
  NotFound: { status: 404, exit: 3 },
  MethodNotAllowed: { status: 405, exit: 6 },
  NotAcceptable: { status: 406, exit: 6 },
  AlreadyExists: { status: 409, exit: 4 },
  Conflict: { status: 409, exit: 4 },
  Expired: { status: 410, exit: 1 }, // the revision asked for was compacted, or belongs to a history that this server never had: list again
  RequestEntityTooLarge: { status: 413, exit: 6 },
  UnsupportedMediaType: { status: 415, exit: 6 },
  Invalid: { status: 422, exit: 6 },
  TooManyRequests: { status: 429, exit: 7 },
  InternalError: { status: 500, exit: 1 },
  ServiceUnavailable: { status: 503, exit: 7 },
  Timeout: { status: 504, exit: 8 },
  // These never cross the wire.
  Usage: { status: 500, exit: 2 }, // the command line is wrong
  KernelRejected: { status: 500, exit: 1 }, // a kernel tool refused what we gave it
} as const satisfies Record<string, CodeFacts>;

export type ErrorCode = keyof typeof errorCodes;

/** One fault of one field. `field` is a path as in `spec.ports[0].port`; `reason` is Kubernetes' CauseType. */
export interface Cause {
  readonly field: string;
  readonly reason:
    "FieldValueInvalid" | "FieldValueRequired" | "FieldValueDuplicate" | "FieldValueNotSupported" | "FieldValueForbidden" | (string & {});
  readonly message: string;
}

/** The object an error is about: `kind` is the plural of the resource, or the kind itself for Invalid, as Kubernetes does it. */
export interface ErrorSubject {
  readonly name?: string | undefined;
  readonly group?: string | undefined;
  readonly kind?: string | undefined;
}

export interface AppErrorOptions {
  readonly hint?: string | undefined;
  readonly cause?: unknown;
  readonly causes?: readonly Cause[] | undefined;
  readonly subject?: ErrorSubject | undefined;
  readonly retryAfterSeconds?: number | undefined;
}

export class AppError extends Error {
  override readonly name = "AppError";
  readonly code: ErrorCode;
  /** What to do about it, one sentence. */
  readonly hint: string | undefined;
  readonly causes: readonly Cause[];
  readonly subject: ErrorSubject | undefined;
  readonly retryAfterSeconds: number | undefined;

  constructor(code: ErrorCode, message: string, options: AppErrorOptions = {}) {
    super(message, { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
    this.causes = options.causes ?? [];
    this.subject = options.subject;
    this.retryAfterSeconds = options.retryAfterSeconds;
  }
}

export interface Status {
  readonly kind: "Status";
  readonly apiVersion: "v1";
  readonly metadata: Record<string, unknown>;
  readonly status: "Success" | "Failure";
  readonly message?: string;
  readonly reason?: string;
  readonly details?: {
    readonly name?: string;
    readonly group?: string;
    readonly kind?: string;
    readonly uid?: string;
    readonly causes?: readonly Cause[];
    readonly retryAfterSeconds?: number;
    readonly hint?: string; // ours; other clients ignore it
  };
  readonly code?: number;
}

export function toStatus(error: AppError): Status {
  const details = {
    ...(error.subject?.name !== undefined && { name: error.subject.name }),
    ...(error.subject?.group !== undefined && error.subject.group !== "" && { group: error.subject.group }),
    ...(error.subject?.kind !== undefined && { kind: error.subject.kind }),
    ...(error.causes.length > 0 && { causes: error.causes }),
    ...(error.retryAfterSeconds !== undefined && { retryAfterSeconds: error.retryAfterSeconds }),
    ...(error.hint !== undefined && { hint: error.hint }),
  };
  return {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Failure",
    message: error.message,
    reason: error.code,
    details, // also when it says nothing: kubectl debug reads it unasked
    code: errorCodes[error.code].status,
  };
}

/** The error that a `Status` body (or, where the body is none, the HTTP status alone) stands for. */
export function fromStatus(httpStatus: number, body: unknown): AppError {
  const status = isStatus(body) ? body : undefined;
  const reason = status?.reason;
  const code = reason !== undefined && Object.hasOwn(errorCodes, reason) ? (reason as ErrorCode) : codeOf(httpStatus);
  return new AppError(code, status?.message ?? `the server answered HTTP ${httpStatus}`, {
    hint: status?.details?.hint,
    causes: status?.details?.causes,
    subject: status?.details,
    retryAfterSeconds: status?.details?.retryAfterSeconds,
  });
}

export function isAppError(error: unknown, code?: ErrorCode): error is AppError {
  return error instanceof AppError && (code === undefined || error.code === code);
}

const MAX_CAUSES = 8;

/** The message of anything that was thrown, with the messages of its causes; what was said already is not said again. */
export function describeError(error: unknown): string {
  let text = "";
  let at = error;
  for (let depth = 0; depth < MAX_CAUSES && at !== undefined; depth++) {
    const message = messageOf(at);
    if (!text.includes(message)) text = text === "" ? message : `${text}: ${message}`;
    at = at instanceof Error ? at.cause : undefined;
  }
  return text === "" ? String(error) : text;
}

/** zod's message is a dump of JSON, and that of several failures at once (two addresses of one name) may be empty. */
function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof AggregateError && error.message === "") return [...new Set(error.errors.map(messageOf))].join(", ");
  if ("issues" in error && Array.isArray(error.issues)) return error.issues.map(issueText).join("; ");
  return error.message;
}

function issueText({ path, message }: { readonly path: readonly PropertyKey[]; readonly message: string }): string {
  return path.length === 0 ? message : `${path.map(String).join(".")}: ${message}`;
}

function isStatus(body: unknown): body is Status {
  return typeof body === "object" && body !== null && "kind" in body && body.kind === "Status";
}

function codeOf(httpStatus: number): ErrorCode {
  for (const [code, facts] of Object.entries(errorCodes)) if (facts.status === httpStatus) return code as ErrorCode;
  return httpStatus >= 500 ? "InternalError" : "BadRequest";
}
