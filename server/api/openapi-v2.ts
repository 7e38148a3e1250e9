import { z } from "zod";
import { declareRoute, type App } from "./route.ts";

const TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/** A Document (gnostic, openapiv2.proto) that says nothing but `swagger: "2.0"`. */
const EMPTY = Buffer.from([0x0a, 0x03, 0x32, 0x2e, 0x30]);

/**
 * kubectl reads OpenAPI v3 (openapi-v3.ts), but for a `v1/List` and for kinds that no server has: these it looks for in v2, and takes a 404 there for a
 * fault of the file. Of an empty document it hears that the kind is not described, and goes on.
 */
export function openApiV2Routes(app: App): void {
  declareRoute(app, {
    method: "GET",
    path: "/openapi/v2",
    summary: "An empty OpenAPI v2 document, in protobuf",
    permission: { access: "authenticated" },
    answer: z.unknown(),
    handler: ({ reply }) => reply.type(TYPE).send(EMPTY),
  });
}
