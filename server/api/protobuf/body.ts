import { AppError } from "#proto/error.ts";
import { unsupportedMediaType } from "../error-reply.ts";
import { ENVELOPE, envelopeOf, MESSAGES } from "./messages.ts";
import { decodeMessage, Malformed } from "./wire.ts";

/** A request's body as kubectl 1.32 and later send some of them: `k8s` and a zero, then runtime.Unknown. */

export const PROTOBUF = "application/vnd.kubernetes.protobuf";
const MAGIC = Buffer.from([0x6b, 0x38, 0x73, 0x00]);

/** The object as JSON would have it. Throws BadRequest for what is malformed, UnsupportedMediaType for kinds that have to come as JSON. */
export function parseProtobufBody(body: Uint8Array): unknown {
  if (body.length === 0) return undefined;
  if (!MAGIC.equals(body.subarray(0, MAGIC.length)))
    throw new AppError("BadRequest", "the body of the request is not Kubernetes' protobuf: it does not begin with k8s");
  const bytes = body.subarray(MAGIC.length);
  try {
    const { typeMeta: { apiVersion = "", kind = "" } = {} } = decodeMessage(bytes, ENVELOPE) as Envelope;
    const message = MESSAGES[`${apiVersion} ${kind}`];
    if (!message) throw unsupportedMediaType(["application/json"]);
    const { raw = {} } = decodeMessage(bytes, envelopeOf(message)) as { raw?: object };
    return { apiVersion, kind, ...raw };
  } catch (cause) {
    if (!(cause instanceof Malformed)) throw cause;
    throw new AppError("BadRequest", `the body of the request is not valid protobuf: ${cause.message}`, { cause });
  }
}

interface Envelope {
  readonly typeMeta?: { readonly apiVersion?: string; readonly kind?: string };
}
