import { Document, Scalar, visit } from "yaml";
import { cleanLines } from "./clean.ts";

const ODD = /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/;

export function toJson(value: unknown): string {
  return `${cleanLines(JSON.stringify(value, null, 4))}\n`;
}

/** A string with controls that YAML would write plainly is double-quoted, so that its escapes are read back as what they stand for. */
export function toYaml(value: unknown): string {
  // Quoted are also the strings that a reader of YAML 1.1, as Kubernetes' tools are, would take for something else: times, yes, 0x1.
  const document = new Document(value, { aliasDuplicateObjects: false, compat: "yaml-1.1" });
  visit(document, {
    Scalar(_key, node) {
      if (typeof node.value === "string" && ODD.test(node.value)) node.type = Scalar.QUOTE_DOUBLE;
    },
  });
  return cleanLines(document.toString({ lineWidth: 0 }));
}
