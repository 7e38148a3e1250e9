import { CommanderError } from "commander";
import { errorCodes, isAppError } from "#proto/error.ts";
import { createProcessIo } from "./process-io.ts";
import { createProgram } from "./program/program.ts";

const { io, stopCode, end } = createProcessIo(process);
const words = process.argv.slice(2);
process.exitCode = await main(words[0] === "--version" ? ["version"] : words);
end();

async function main(args: readonly string[]): Promise<number> {
  let code = 0;
  try {
    const program = createProgram(io, (result) => (code = result));
    if (args.length === 0) program.outputHelp();
    else await program.parseAsync(args, { from: "user" });
    return stopCode() ?? code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : errorCodes.Usage.exit; // it has said itself what is wrong
    const stopped = stopCode();
    if (stopped !== undefined) return stopped;
    const { renderError } = await import("./output/error.ts");
    io.err(renderError(error));
    return isAppError(error) ? errorCodes[error.code].exit : 1;
  }
}
