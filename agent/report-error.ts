import { CommanderError } from "commander";
import { AppError, describeError, errorCodes } from "#proto/error.ts";

/** Says on stderr what went wrong, and returns the exit code. */
export function reportError(program: string, error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2; // it has said why
  console.error(`${program}: ${describeError(error)}`);
  if (error instanceof AppError && error.hint !== undefined) console.error(`  ${error.hint}`);
  return error instanceof AppError ? errorCodes[error.code].exit : 1;
}
