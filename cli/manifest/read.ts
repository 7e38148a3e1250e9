import { createReadStream } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { AppError, describeError } from "#proto/error.ts";
import type { Io } from "../io.ts";
import { parseManifests, type Parsed } from "./parse.ts";

/** More than any manifest of people; what makes them is better split. */
export const MAX_FILE_BYTES = 1 << 20;
const MAX_FILES = 10_000;
const MANIFEST = /\.(ya?ml|json)$/;

export interface ReadOptions {
  readonly recursive: boolean;
  readonly io: Io;
}

/** The objects of files, folders (their *.yaml, *.yml and *.json, by name) and `-` for stdin, in the order given. Throws for what is not there. */
export async function* readManifests(paths: readonly string[], { recursive, io }: ReadOptions): AsyncGenerator<Parsed> {
  for (const path of paths) {
    if (path === "-") {
      yield* parseManifests("stdin", await io.readStdin(MAX_FILE_BYTES));
      continue;
    }
    for (const file of await filesAt(path, recursive)) yield* await parseFile(file);
  }
}

/** A whole file, or `-` for stdin. */
export async function readText(path: string, io: Io): Promise<string> {
  return path === "-" ? io.readStdin(MAX_FILE_BYTES) : readBounded(path);
}

/** A file that cannot be used is a fault of its own, and the next one is read. */
async function parseFile(file: string): Promise<Parsed[]> {
  try {
    return parseManifests(file, await readBounded(file));
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return [{ fault: { error, place: { label: file, lineOf: () => undefined } } }];
  }
}

async function filesAt(path: string, recursive: boolean): Promise<string[]> {
  if (/^https?:\/\//.test(path))
    throw new AppError("Usage", `${path} is not a file`, {
      hint: `fetch it yourself and look at it first: curl -fsS ${path} | fairlead apply -f -`,
    });
  const found = await orUsage(path, stat(path));
  if (!found.isDirectory()) return [path];
  const entries = await orUsage(path, readdir(path, { recursive, withFileTypes: true }));
  const files = entries
    .filter((entry) => !entry.isDirectory() && MANIFEST.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  if (files.length === 0)
    throw new AppError("Usage", `${path} holds no .yaml, .yml or .json file`, recursive ? {} : { hint: "-R looks into folders within" });
  if (files.length > MAX_FILES) throw new AppError("Usage", `${path} holds ${files.length} files; ${MAX_FILES} are the most`);
  return files;
}

/** Bounded while it is read, because a pipe or a device does not tell its size before. */
async function readBounded(file: string): Promise<string> {
  const { size } = await orUsage(file, stat(file));
  if (size > MAX_FILE_BYTES) throw tooLarge(file, size);
  const chunks: Buffer[] = [];
  const stream = createReadStream(file, { end: MAX_FILE_BYTES });
  await orUsage(
    file,
    (async () => {
      for await (const chunk of stream) chunks.push(chunk as Buffer); // no encoding was set
    })(),
  );
  const bytes = Buffer.concat(chunks);
  if (bytes.length > MAX_FILE_BYTES) throw tooLarge(file);
  return decodeUtf8(bytes);
}

export function tooLarge(name: string, size?: number): AppError {
  const found = size === undefined ? "" : ` (${size} bytes)`;
  return new AppError(
    "RequestEntityTooLarge",
    `${name} is larger than the ${MAX_FILE_BYTES} bytes that a file of manifests may have${found}`,
    {
      hint: "split it into several files and apply their folder",
    },
  );
}

export function decodeUtf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new AppError("Invalid", "is not UTF-8 text", { cause });
  }
}

async function orUsage<T>(path: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
    const why = code === "ENOENT" ? "no such file or folder" : code === "EACCES" ? "permission denied" : describeError(cause);
    throw new AppError("Usage", `cannot read ${path}: ${why}`, { cause });
  }
}
