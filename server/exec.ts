import { execa } from "execa";
import { z } from "zod";
import { AppError, describeError } from "#proto/error.ts";
import type { LocalRoute } from "./ranges.ts";

/** The server's only use of another program. */

const Routes = z.array(z.looseObject({ dst: z.string(), dev: z.string().optional() }));
const TIMEOUT_MS = 5000;

/** The routes of the main tables, IPv4 and IPv6. Throws ServiceUnavailable where `ip` cannot say. */
export async function localRoutes(): Promise<LocalRoute[]> {
  const both = await Promise.all(["-4", "-6"].map((family) => routesOf(family)));
  return both.flat();
}

async function routesOf(family: string): Promise<LocalRoute[]> {
  try {
    const { stdout } = await execa("ip", ["-j", family, "route", "show"], { timeout: TIMEOUT_MS, stdin: "ignore" });
    // Without IPv6 in the kernel there is no text at all.
    return stdout.trim() === "" ? [] : Routes.parse(JSON.parse(stdout));
  } catch (cause) {
    throw new AppError("ServiceUnavailable", `the routes of this host cannot be read: ${describeError(cause).split("\n", 1)[0] ?? ""}`, {
      cause,
      hint: "install iproute2",
    });
  }
}
