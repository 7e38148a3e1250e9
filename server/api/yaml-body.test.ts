import { expect, test } from "vitest";
import { isAppError } from "#proto/error.ts";
import { parseYaml } from "./yaml-body.ts";

const parse = (text: string): unknown => parseYaml(text, 100);

test.for<[what: string, text: string, value: unknown]>([
  ["block style", "a:\n  b: [1, two, true, null]\n  c: |\n    text\n", { a: { b: [1, "two", true, null], c: "text\n" } }],
  ["flow style", "{a: {b: 1.5}}", { a: { b: 1.5 } }],
  ["numbers as keys, which are names here", "80: x\n", { "80": "x" }],
  ["words that were booleans in former times", "a: yes\nb: off\n", { a: "yes", b: "off" }],
  ["a date, which is a text", "a: 2026-01-01\n", { a: "2026-01-01" }],
  ["a key twice: the last one counts, as in JSON", "a: 1\na: 2\n", { a: 2 }],
  ["nothing", "# only a comment\n", undefined],
])("%s", ([, text, value]) => {
  expect(parse(text)).toEqual(value);
});

test.for<[what: string, text: string]>([
  ["aliases that multiply", `a: &a [x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n`],
  ["an alias of nothing", "a: *b\n"],
  ["a tag", "a: !!binary aGk=\n"],
  ["explicit keys", "? a\n: b\n"],
  ["a directive", "%YAML 1.1\n---\na: b\n"],
  ["two documents", "---\na: 1\n---\na: 2\n"],
  ["an end without a beginning", "a: ]\n"],
  ["a list that does not end", "a: [1\n"],
])("%s is refused", ([, text]) => {
  expect(() => parse(text)).toThrow(expect.toSatisfy((error: unknown) => isAppError(error, "BadRequest")));
});

test("64 KiB of anything are answered in a moment, and no more is looked at", () => {
  const pieces = [
    "? ",
    "- ",
    "-\n",
    "[",
    "{",
    "[],",
    "a: ",
    "a:\n",
    "#\n",
    '"',
    "'",
    "]",
    "}{",
    "|\n",
    " - a\n",
    "\t",
    ": ",
    ",",
    "---\n",
    "a: b, ",
  ];
  const texts = pieces.map((piece) => piece.repeat(Math.floor(65_000 / piece.length)));
  for (const text of texts) {
    const start = process.cpuUsage();
    try {
      parse(text);
    } catch (error) {
      expect(isAppError(error, "BadRequest"), String(error)).toBe(true);
    }
    const { user, system } = process.cpuUsage(start);
    expect((user + system) / 1_000_000, text.slice(0, 20)).toBeLessThan(5);
  }
  expect(() => parse("x".repeat(65_537))).toThrow(expect.toSatisfy((error: unknown) => isAppError(error, "RequestEntityTooLarge")));
});
