import { execa } from "execa";
import { expect, test } from "vitest";

/** The launcher's own way to each command: server, agent and demo have mains of their own. */

async function helpOf(words: readonly string[]): Promise<string> {
  const { stdout } = await execa("./fairlead", [...words, "--help"]);
  return stdout;
}

/** Of a help text, the commands that it lists. */
function commandsIn(help: string): readonly string[] {
  const [, listed = ""] = /^Commands:\n((?: .*\n)*)/m.exec(help) ?? [];
  return [...listed.matchAll(/^ {2}([a-z]+)(?:\|\w+)? /gm)].map(([, name = ""]) => name).filter((name) => name !== "help");
}

async function allBelow(words: readonly string[]): Promise<readonly (readonly [string, string])[]> {
  const help = await helpOf(words);
  const below = await Promise.all(commandsIn(help).map((name) => allBelow([...words, name])));
  return [[["fairlead", ...words].join(" "), help], ...below.flat()];
}

test("no help text shows what only a program reads", async () => {
  const texts = await allBelow([]);
  const names = texts.map(([name]) => name);
  expect(names).toEqual(
    expect.arrayContaining(["fairlead agent join", "fairlead agent cleanup", "fairlead server", "fairlead token create"]),
  );
  const strange = texts.flatMap(([name, help]) =>
    help.split("\n").flatMap((line) => (/\[\]|undefined|\[object|NaN|null/.test(line) ? [`${name}: ${line.trim()}`] : [])),
  );
  expect(strange).toEqual([]);
}, 60_000);
