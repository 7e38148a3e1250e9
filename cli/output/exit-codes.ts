import { errorCodes } from "#proto/error.ts";

const MEANINGS: Readonly<Record<number, string>> = {
  0: "done",
  1: "failed; for status: something is wrong in the fleet",
  2: "the command line or the configuration file is wrong; nothing was sent",
  3: "not found",
  4: "conflict: it exists already, or somebody else changed it in between",
  5: "not allowed: the credential is missing, wrong or may not do this",
  6: "invalid: what was sent or read is refused, and the field is named",
  7: "the server cannot be reached, or shows another certificate than the pinned one",
  8: "time ran out; for --wait: the change is stored, but not live everywhere",
};

/** `fairlead help exit-codes`; the names are those of the error codes that lead there. */
export function exitCodesText(): string {
  const lines = Object.entries(MEANINGS).map(([exit, meaning]) => {
    const names = Object.entries(errorCodes).filter(([, facts]) => facts.exit === Number(exit));
    return `  ${exit.padEnd(5)}${meaning}${names.length > 0 ? `\n       (${names.map(([name]) => name).join(", ")})` : ""}\n`;
  });
  const signals = "  129, 130, 143   ended by SIGHUP, Ctrl-C, SIGTERM\n";
  const run =
    "  run             the exit code of its program; 126: may not be executed, 127: no such command, 128 + N: ended by signal N\n";
  return `Exit codes:\n${lines.join("")}${signals}${run}With several objects the code is that of the first fault; the others are told all the same.\n`;
}
