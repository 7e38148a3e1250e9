import { CST, Lexer, parseDocument } from "yaml";
import { AppError } from "#proto/error.ts";

/**
 * A configuration for server-side apply as YAML, as people send it with curl; kubectl sends JSON, which goes another way. Whatever of YAML can hold its
 * reader for minutes or blow up in memory is refused before it is read: aliases, explicit keys, deep nesting. What is left takes time in proportion to it.
 */

const MAX_BYTES = 64 * 1024;

/** undefined for an empty document. Throws BadRequest or RequestEntityTooLarge. */
export function parseYaml(text: string, maxDepth: number): unknown {
  if (Buffer.byteLength(text) > MAX_BYTES)
    throw new AppError("RequestEntityTooLarge", `Request entity too large: limit is ${MAX_BYTES} as YAML`, { hint: "send it as JSON" });
  checkTokens(text, maxDepth);
  const document = parseDocument(text, { uniqueKeys: false, stringKeys: true, prettyErrors: false, logLevel: "silent", merge: false });
  const [error] = document.errors;
  if (error) throw bad(error.message);
  const value: unknown = document.toJS({ maxAliasCount: 0 });
  return value ?? undefined;
}

function bad(why: string): AppError {
  return new AppError("BadRequest", `the body of the request is not valid YAML: ${why.slice(0, 300)}`);
}

const REFUSED: Readonly<Record<string, string>> = {
  alias: "aliases (*name) are not taken",
  anchor: "anchors (&name) are not taken",
  tag: "tags (!name) are not taken",
  "explicit-key-ind": "explicit keys (? key) are not taken",
  "directive-line": "directives (%NAME) are not taken",
};

function checkTokens(text: string, maxDepth: number): void {
  let flows = 0;
  let items = 0;
  let documents = 0;
  for (const token of new Lexer().lex(text)) {
    const type = CST.tokenType(token) ?? "";
    const refused = REFUSED[type];
    if (refused !== undefined) throw bad(refused);
    if (type === "doc-start" && ++documents > 1) throw bad("there is more than one document");
    if (type === "flow-map-start" || type === "flow-seq-start") flows++;
    if (type === "flow-map-end" || type === "flow-seq-end") flows--;
    // `- - - -`: lists in lists on one line.
    items = type === "seq-item-ind" ? items + 1 : type === "space" ? items : 0;
    if (flows < 0) throw bad(`there is a ${token} too many`);
    if (flows > maxDepth || items > maxDepth) throw bad(`it is nested deeper than ${maxDepth} levels`);
  }
}
