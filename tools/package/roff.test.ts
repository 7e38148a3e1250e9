import { expect, test } from "vitest";
import { entriesOf, renderManual, sectionsOf } from "./roff.ts";

const help = `Usage: fairlead agent join [options] <server>

join this host to a fleet, once

Options:
  --token-file <file>  file with the join token, or - for stdin
  --name <name>        name of this node (default: this host's
                       own)
  -h, --help           display help for command

Examples:
  sudo fairlead agent join https://10.0.0.5:7443 --token-file token.txt
  .hidden 'quoted' back\\slash

Exit code 1: something is left.
`;

test("a help text falls into its sections", () => {
  expect(sectionsOf(help).map(({ title, lines }) => [title, lines.length])).toEqual([
    ["Usage", 1],
    ["", 1],
    ["Options", 4],
    ["Examples", 2],
    ["Exit code 1", 1],
  ]);
});

test("what goes on in the next line belongs to the entry", () => {
  expect(entriesOf(sectionsOf(help)[2]?.lines ?? [])).toEqual([
    { term: "--token-file <file>", says: "file with the join token, or - for stdin" },
    { term: "--name <name>", says: "name of this node (default: this host's own)" },
    { term: "-h, --help", says: "display help for command" },
  ]);
});

test("a manual page: hyphens can be copied, and no line of a text is a command to roff", () => {
  const page = renderManual(
    [
      { name: "fairlead agent", text: "Usage: fairlead agent\n\nRuns on each host: programs it.\n" },
      { name: "fairlead agent join", text: help },
    ],
    {
      section: 8,
      date: "2026-11-28",
    },
  );
  expect(page.split("\n")).toEqual([
    ".TH FAIRLEAD-AGENT 8 2026-11-28 Fairlead Fairlead",
    ".SH NAME",
    "fairlead\\-agent \\- Runs on each host",
    ".SH SYNOPSIS",
    ".B fairlead agent",
    ".SH DESCRIPTION",
    "Runs on each host: programs it.",
    ".SH FAIRLEAD AGENT JOIN",
    ".B fairlead agent join [options] <server>",
    ".PP",
    "join this host to a fleet, once",
    ".SS Options",
    ".TP",
    ".B \\-\\-token\\-file <file>",
    "file with the join token, or \\- for stdin",
    ".TP",
    ".B \\-\\-name <name>",
    "name of this node (default: this host's own)",
    ".TP",
    ".B \\-h, \\-\\-help",
    "display help for command",
    ".SS Examples",
    ".nf",
    "sudo fairlead agent join https://10.0.0.5:7443 \\-\\-token\\-file token.txt",
    "\\&.hidden 'quoted' back\\eslash",
    ".fi",
    ".SS Exit code 1",
    "something is left.",
    "",
  ]);
});
