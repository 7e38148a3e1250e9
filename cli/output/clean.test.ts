import { expect, test } from "vitest";
import { parse } from "yaml";
import { clean, cleanLines } from "./clean.ts";
import { toYaml } from "./structured.ts";

test.for([
  { name: "a colour sequence", text: "\x1b[31mred", shown: "\\u001b[31mred" },
  { name: "a title sequence ended by BEL", text: "\x1b]0;x\x07", shown: "\\u001b]0;x\\u0007" },
  { name: "a C1 control", text: "\x9b2J", shown: "\\u009b2J" },
  { name: "a line break", text: "a\nb\r", shown: "a\\u000ab\\u000d" },
  { name: "a right-to-left override", text: "\u202egpj", shown: "\\u202egpj" },
  { name: "plain text, accents and symbols included", text: "zürich → ok", shown: "zürich → ok" },
])("$name is shown as it is written, not obeyed", ({ text, shown }) => {
  expect(clean(text)).toBe(shown);
});

test("text of several lines keeps its line breaks", () => {
  expect(cleanLines("a\nb\x1b")).toBe("a\nb\\u001b");
});

test("YAML stays readable by machines: what was escaped means the same", () => {
  const value = { note: "a\x1b[2J\x9bb \u202e" };
  const text = toYaml(value);
  expect(text).not.toContain("\x9b");
  expect(text).not.toContain("\u202e");
  expect(parse(text)).toEqual(value);
});

test("YAML quotes what a reader of YAML 1.1 would not take for a string", () => {
  expect(toYaml({ time: "2026-01-02T00:00:00Z", answer: "yes", plain: "web" })).toBe(
    'time: "2026-01-02T00:00:00Z"\nanswer: "yes"\nplain: web\n',
  );
});
