import type { FastifyReply, FastifyRequest } from "fastify";
import { AppError, describeError, errorCodes, isAppError, toStatus } from "#proto/error.ts";

/** Any error → one JSON shape, Kubernetes' Status. What is not meant for the caller (stack, path, SQL) goes to the log only. */

/** For Fastify's setErrorHandler. */
export function replyWithError(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const shown = toAppError(error);
  if (errorCodes[shown.code].status === 500 || shown.code === "ServiceUnavailable")
    request.log.error({ err: error, method: request.method, path: pathOnly(request.url) }, "request failed");
  if (reply.raw.headersSent) {
    // A stream broke in the middle: the only honest answer left is to cut it.
    reply.raw.destroy();
    return;
  }
  const status = toStatus(shown);
  if (shown.retryAfterSeconds !== undefined && (status.code === 429 || status.code === 503))
    void reply.header("Retry-After", String(shown.retryAfterSeconds));
  if (shown.code === "Unauthorized") void reply.header("WWW-Authenticate", "Bearer");
  void reply
    .code(status.code ?? 500)
    .type("application/json")
    .send(JSON.stringify(status));
}

/** What the caller may know about an error. */
export function toAppError(error: unknown): AppError {
  if (error instanceof AppError) return errorCodes[error.code].status === 500 && error.code !== "InternalError" ? hidden(error) : error;
  const code = error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "";
  const known = FASTIFY_ERRORS[code];
  if (known) return known();
  const status = error instanceof Error && "statusCode" in error && typeof error.statusCode === "number" ? error.statusCode : 500;
  return status >= 400 && status < 500 ? new AppError("BadRequest", describeError(error)) : hidden(error);
}

export function notFoundPath(): AppError {
  return new AppError("NotFound", "the server could not find the requested resource");
}

export function methodNotAllowed(): AppError {
  return new AppError("MethodNotAllowed", "the server does not allow this method on the requested resource");
}

export const STRATEGIC_PATCH = "application/strategic-merge-patch+json";
/** Of PATCH, but for server-side apply. */
export const PATCH_TYPES: readonly string[] = ["application/json-patch+json", "application/merge-patch+json", STRATEGIC_PATCH];
/** Server-side apply. The body may be YAML, hence its name; clients send JSON. */
export const APPLY_PATCH = "application/apply-patch+yaml";
export const ALL_PATCH_TYPES: readonly string[] = [...PATCH_TYPES, APPLY_PATCH];

export function unsupportedMediaType(accepted: readonly string[]): AppError {
  return new AppError(
    "UnsupportedMediaType",
    `the body of the request was in an unknown format - accepted media types include: ${accepted.join(", ")}`,
  );
}

export const MAX_BODY_BYTES = 3 * 1024 * 1024;

export function tooLarge(limit = MAX_BODY_BYTES): AppError {
  return new AppError("RequestEntityTooLarge", `Request entity too large: limit is ${limit}`, { hint: "an object may have 1 MiB" });
}

const FASTIFY_ERRORS: Readonly<Record<string, () => AppError>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: () => tooLarge(),
  FST_ERR_CTP_INVALID_MEDIA_TYPE: () => unsupportedMediaType(["application/json"]),
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: () =>
    new AppError("BadRequest", "the body of the request does not have the length that Content-Length says"),
  FST_ERR_BAD_URL: () => new AppError("BadRequest", "the path of the request is not validly percent-encoded"),
  FST_ERR_NOT_FOUND: notFoundPath,
};

function hidden(error: unknown): AppError {
  if (isAppError(error, "InternalError")) return error;
  return new AppError("InternalError", "an error on the server has prevented the request from succeeding", {
    hint: "the server's log says what happened",
  });
}

/** Without the query, which may hold what a log should not. */
export function pathOnly(url: string): string {
  return url.split("?", 1)[0] ?? "";
}
