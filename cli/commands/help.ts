import type { Command } from "commander";
import { AppError } from "#proto/error.ts";
import type { Command as Run } from "../io.ts";
import { exitCodesText } from "../output/exit-codes.ts";

export function helpOf(program: Command): Run<object> {
  return async ({ args, io }) => {
    if (args[0] === "exit-codes") {
      io.out(exitCodesText());
      return 0;
    }
    let found = program;
    for (const word of args) {
      const next = found.commands.find((one) => one.name() === word);
      if (!next)
        throw new AppError("Usage", `no command "${args.join(" ")}"`, {
          hint: "`fairlead --help` lists them; `fairlead help exit-codes` tells the exit codes",
        });
      found = next;
    }
    if (["server", "agent", "dns", "demo"].includes(found.name()))
      io.out(`fairlead ${found.name()} has a help of its own: fairlead ${found.name()} --help\n`);
    else found.outputHelp();
    return 0;
  };
}
