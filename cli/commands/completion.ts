import type { Command } from "commander";
import { AppError } from "#proto/error.ts";
import { modelOf } from "../completion/model.ts";
import { completionScript, type Shell } from "../completion/scripts.ts";
import type { Command as Run } from "../io.ts";

export function completionOf(program: Command): Run<object> {
  return async ({ args, io }) => {
    const [shell = ""] = args;
    if (!isShell(shell)) throw new AppError("Usage", `no completion for "${shell}"`, { hint: "there is one for bash, zsh and fish" });
    io.out(completionScript(shell, modelOf(program)));
    return 0;
  };
}

function isShell(text: string): text is Shell {
  return ["bash", "zsh", "fish"].includes(text);
}
