import { AppError } from "#proto/error.ts";
import { ALL_PATCH_TYPES, APPLY_PATCH, unsupportedMediaType } from "./error-reply.ts";
import { parseProtobufBody, PROTOBUF } from "./protobuf/body.ts";
import type { App } from "./route.ts";
import { parseYaml } from "./yaml-body.ts";

/** Bodies: JSON and its patch formats, and YAML for server-side apply. What could harm the code that walks them (depth, `__proto__`) stops here. */

export const MAX_DEPTH = 100;
/** What a whole object may come as. */
export const jsonOrProtobuf: readonly string[] = ["application/json", PROTOBUF];

export function acceptJsonBodies(app: App): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(["application/json", ...ALL_PATCH_TYPES], { parseAs: "string" }, (request, text, done) => {
    try {
      const isApply = request.headers["content-type"]?.startsWith(APPLY_PATCH) === true;
      done(null, isApply ? parseApplyBody(String(text)) : parseJsonBody(String(text)));
    } catch (error) {
      done(error as Error); // only Errors are thrown there
    }
  });
  app.addContentTypeParser(PROTOBUF, { parseAs: "buffer" }, (request, body, done) => {
    try {
      const { accepts = ["application/json"] } = request.routeOptions.config.declared ?? {};
      // That there is no such path is the better answer.
      if (!request.is404 && !accepts.includes(PROTOBUF)) throw unsupportedMediaType(accepts);
      done(null, request.is404 ? undefined : parseProtobufBody(Buffer.from(body)));
    } catch (error) {
      done(error as Error); // only Errors are thrown there
    }
  });
  app.addContentTypeParser("*", (request, payload, done) => {
    if (request.is404) {
      // That there is no such path is the better answer.
      payload.resume();
      done(null);
      return;
    }
    const patching = request.method === "PATCH";
    done(unsupportedMediaType(patching ? ALL_PATCH_TYPES : ["application/json"]));
  });
}

/** undefined for an empty body. Duplicate keys: the last one counts, as everywhere in JavaScript and Go. */
export function parseJsonBody(text: string): unknown {
  if (text.trim() === "") return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new AppError("BadRequest", `the body of the request is not valid JSON: ${cause instanceof Error ? cause.message : ""}`, {
      cause,
    });
  }
  checkShape(value, "the body of the request");
  return value;
}

/** JSON, as all clients send it, or else YAML, as people do. */
function parseApplyBody(text: string): unknown {
  if (/^\s*(\{|$)/.test(text)) {
    try {
      return parseJsonBody(text);
    } catch (error) {
      if (!(error instanceof AppError && error.cause instanceof SyntaxError)) throw error; // it was JSON
    }
  }
  const value = parseYaml(text, MAX_DEPTH);
  checkShape(value, "the body of the request");
  return value;
}

/** Throws BadRequest when `what` is nested too deep, or has such a field. */
export function checkShape(value: unknown, what: string, depth = 0): void {
  if (typeof value !== "object" || value === null) return;
  if (depth >= MAX_DEPTH) throw new AppError("BadRequest", `${what} is nested deeper than ${MAX_DEPTH} levels`);
  if (Array.isArray(value)) for (const item of value) checkShape(item, what, depth + 1);
  else
    for (const [key, inner] of Object.entries(value)) {
      if (key === "__proto__") throw new AppError("BadRequest", `${what} has a field "__proto__", which no object may have`);
      checkShape(inner, what, depth + 1);
    }
}

export type JsonObject = Readonly<Record<string, unknown>>;

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The same of what is the caller's own copy, and may be changed. */
export function isOwnJsonObject(value: unknown): value is Record<string, unknown> {
  return isJsonObject(value);
}

/** An object or list with nothing in it. */
export function isHollow(value: unknown): boolean {
  return Array.isArray(value) ? value.length === 0 : isJsonObject(value) && Object.keys(value).length === 0;
}

/** Kubernetes takes null for absent; in lists it stands for itself, and is refused by the schema. */
export function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls);
  if (!isJsonObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, inner]) => inner !== null)
      .map(([key, inner]) => [key, withoutNulls(inner)]),
  );
}
